"""`gfsctl admin masters show`: one master, its log and its store."""

from __future__ import annotations

from collections.abc import Iterator

import click
from msgspec import Struct, structs
from rich.table import Table

from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.membership import newest_members
from gfs_ha.errors import GfsError, NotFound, Unreachable
from gfs_ha.protocol.reports import MasterFacts


class OneMaster(Struct, frozen=True):
    """What one master says of itself."""

    items: tuple[MasterFacts, ...]


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl admin masters show m1       # its log, its store, how long commits take
    gfsctl admin masters show m1 -w    # again and again
    """,
)
@click.argument("name")
@watched
@pass_session
def show_master(session: Session, name: str) -> None:
    """Show what one master says of itself; needs no leader.

    Exit status 3: no such master; 5: it does not answer.
    """
    said = session.operations.master_facts()
    facts = said.get(name)
    answers = [one for one in said.values() if isinstance(one, MasterFacts)]
    members = [one.name for one in newest_members(answers)]
    if facts is None:
        raise NotFound(f"there is no master {name!r}; there are {', '.join(members or said)}")
    if isinstance(facts, GfsError):
        if members and name not in members:
            raise NotFound(
                f"{name} is none of the masters any more, which are {', '.join(members)}; it does"
                f" not answer: {facts.message}"
            )
        if isinstance(facts, Unreachable):
            raise Unreachable(
                f"{facts.message}; `gfsctl admin masters ls` tells what the others say of {name}"
            )
        raise facts
    if facts.trouble == "" and members and name not in members:
        # It was away when it was removed, and nobody tells it.
        trouble = f"{name} is none of the masters any more, which are {', '.join(members)}"
        facts = structs.replace(facts, role="removed", trouble=f"{trouble}: stop it")
    session.show(OneMaster((facts,)))


@names.register
def _(report: OneMaster) -> Iterator[str]:
    yield report.items[0].name


@render.register
def _(report: OneMaster, wide: bool) -> Table:
    facts = report.items[0]
    entries = facts.last_index - facts.first_index + 1
    table = Table(show_header=False, box=None)
    rows = [
        ("Master", facts.name),
        ("Role", facts.trouble or facts.role),
        ("Leader", facts.leader or "none"),
        ("Members", ", ".join(one.name for one in facts.members) or "none"),
        ("Term", f"{facts.incarnation}.{facts.term}"),
        ("Log", f"{count_text(entries)} entries, {size_text(facts.log_bytes)}"),
        ("Entries", f"{facts.first_index} to {facts.last_index}"),
        ("Committed", f"{facts.commit_index}, applied {facts.applied_index}"),
        ("Map", f"{size_text(facts.map_bytes)}, used {size_text(facts.state_bytes)}"),
        ("Free pages", size_text(facts.free_bytes)),
        ("Readers", str(facts.readers)),
        ("Disk free", size_text(facts.disk_free_bytes)),
        ("Last commit", f"{facts.last_commit_us / 1000:.2f} ms"),
        ("Commit p50", f"{facts.commit_p50_us / 1000:.2f} ms"),
        ("Commit p99", f"{facts.commit_p99_us / 1000:.2f} ms"),
        ("Memory", size_text(facts.rss_bytes)),
        ("Version", facts.version),
    ]
    for title, value in rows:
        table.add_row(title, value)
    return table
