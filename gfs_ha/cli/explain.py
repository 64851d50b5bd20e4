"""`gfsctl explain`: what a code, path, job, chunk, server or disk is about, and what to do next."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from gfs_ha.cli.names import SCHEME, printable
from gfs_ha.cli.runbooks import runbook, runbooks
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import NotFound, UnknownChunk
from gfs_ha.ids import format_id

if TYPE_CHECKING:
    from gfs_ha.cli.explained.explanation import Explanation

_CHUNK = re.compile(r"0x[0-9a-fA-F]{1,16}")
_LEAST_LIKE = 0.6


@click.command(
    cls=Verb,
    examples="""
    gfsctl explain NoLeader          # what an error means, its likely cause, the next command
    gfsctl explain CHUNKS_UNDER      # a finding of gfsctl admin health
    gfsctl explain 8                 # an exit status
    gfsctl explain /docs/report.pdf  # a file: copies, rule, where, whether all is well, what comes
    gfsctl explain r-19              # a job: what it does, how far, what is in its way
    gfsctl explain 0x1000000000007   # a chunk
    gfsctl explain cs03              # a chunkserver or a master
    gfsctl explain cs03:data2        # a disk, by its directory or id
    gfsctl explain                   # all codes
    """,
)
@click.argument("what", metavar="[CODE|PATH|JOB|CHUNK|SERVER|DISK]", required=False)
@pass_session
def explain(session: Session, what: str | None) -> None:
    """Explain a code, a path, a job, a chunk, a server or a disk. Codes need no cluster."""
    from gfs_ha.cli.explained.explanation import CodeList

    if what is None:
        session.show(CodeList(tuple(runbooks().values())))
        return
    book = runbook(what)
    if book is not None:
        session.show(book)
        return
    session.show(_explained(session, what))


def _explained(session: Session, what: str) -> Explanation:
    """Return the explanation of something in the cluster. Raises: NotFound…"""
    from gfs_ha.protocol.jobs import job_number

    if what.startswith(("/", SCHEME)):
        return _of_path(session, session.path(what))
    if _CHUNK.fullmatch(what):
        try:
            return _of_chunk(session, what)
        except UnknownChunk:
            rows = session.operations.disks.all().items
            if all(format_id(row.disk_id) != what.lower() for row in rows):
                raise
            return _of_disk(session, what)
    if ":" in what:
        return _of_disk(session, what)
    number = job_number(what)
    if number is not None:
        from gfs_ha.cli.admin.jobs import job_named
        from gfs_ha.cli.explained.job import explain_job

        row = job_named(session, what)
        return explain_job(row, session.operations.jobs.log(number))
    return _of_server(session, what)


def _of_path(session: Session, path: str) -> Explanation:
    from gfs_ha.cli.explained.path import FileSeen, explain_directory, explain_file

    status = session.cluster.stat(path)
    policy = session.cluster.policies.get(path)
    if status.kind == "directory":
        return explain_directory(path, status, policy)
    operations = session.operations
    leases = [one for one in operations.leases() if one.inode_id == status.inode_id]
    placement, repair = operations.placement(path), operations.repair()
    return explain_file(FileSeen(path, status, policy, placement, repair, leases))


def _of_chunk(session: Session, what: str) -> Explanation:
    from gfs_ha.cli.admin.chunks import read_chunk_id
    from gfs_ha.cli.explained.chunk import explain_chunk

    chunk_id = read_chunk_id(what)
    detail = session.operations.show_chunks([chunk_id]).items[0]
    alive = detail.row.state in ("open", "sealing", "sealed")
    placed = session.operations.explain_placement(chunk_id) if alive else None
    return explain_chunk(detail, placed, session.operations.repair())


def _of_disk(session: Session, what: str) -> Explanation:
    from gfs_ha.cli.admin.disks import named_disks
    from gfs_ha.cli.explained.disk import explain_disk
    from gfs_ha.protocol.events import DISK, EVENTS_PAGE_MAX, GetEvents

    operations = session.operations
    (row,) = named_disks(operations.disks.all().items, [what])
    wanted = GetEvents(subjects=(row.server,), kinds=(DISK,))
    events, _ = operations.events.newest(wanted, EVENTS_PAGE_MAX)
    return explain_disk(row, events)


def _of_server(session: Session, name: str) -> Explanation:
    from gfs_ha.cli.explained.server import EVENTS_SHOWN, explain_master, explain_server
    from gfs_ha.protocol.events import GetEvents

    operations = session.operations
    status = operations.status()
    servers = {one.name: one for one in status.servers}
    masters = {one.name: one for one in status.masters}
    if name not in servers and name not in masters:
        raise _unknown(name, [*servers, *masters])
    findings = [one for one in status.health.items if one.subject == name]
    job = servers[name].job if name in servers else ""  # That empties it: when it began.
    subjects = (name, job) if job else (name,)
    events, _ = operations.events.newest(GetEvents(subjects=subjects), EVENTS_SHOWN)
    if name in servers:
        return explain_server(servers[name], findings, events)
    return explain_master(masters[name], status.leader, findings, events)


def _unknown(what: str, names: list[str]) -> NotFound:
    known = [*(code for _, code in runbooks()), *names]
    near = get_close_matches(what, known, 3, _LEAST_LIKE)
    like = f"; do you mean {', '.join(near)}?" if near else "; gfsctl explain lists all codes"
    return NotFound(
        f"{printable(what) or 'nothing'} is no code, path, job, chunk, server or disk{like}"
    )
