"""`gfsctl admin masters add, replace, remove`: who the masters are, changed while they serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.members import MasterMembers
from gfs_ha.config import MasterAddress
from gfs_ha.errors import UsageError

_ADDRESS = "HOST:PORT:RAFT_PORT"


@click.command(
    "add",
    cls=Verb,
    examples="""
    gfsctl admin masters add m4                        # where my configuration says
    gfsctl admin masters add m4 10.0.0.4:7100:7200     # there
    """,
)
@click.argument("name")
@click.argument("address", required=False, metavar=_ADDRESS)
@pass_session
def add_master(session: Session, name: str, address: str | None) -> None:
    """Add a master: it learns all there is, then it votes.

    Start it first, on an empty directory and without --bootstrap; its file names the masters that
    are there, and itself. It has 10 minutes to catch up, whatever --timeout says. If this ends or
    is interrupted before, the same again goes on. Exit status 4: it is a master already.
    """
    _tell(session, _members(session).add(_where(session, name, address)))


@click.command(
    "replace",
    cls=Verb,
    examples="""
    gfsctl admin masters replace m3 m4                      # m4 for m3, which may be dead
    gfsctl admin masters replace m3 m4 10.0.0.4:7100:7200   # where m4 is
    """,
)
@click.argument("old")
@click.argument("new")
@click.argument("address", required=False, metavar=_ADDRESS)
@pass_session
def replace_master(session: Session, old: str, new: str, address: str | None) -> None:
    """Put a new master into the place of an old one: learns, votes, and the old one is out.

    Reads and writes go on all the time. The new one has 10 minutes to catch up, whatever --timeout
    says. If this ends or is interrupted before, the same again goes on. Afterwards write the new
    one into the configuration files instead of the old one. Exit status 3: no such master; 4: the
    new one is a master already.
    """
    _tell(session, _members(session).replace(old, _where(session, new, address)))


@click.command(
    "remove",
    cls=Verb,
    examples="""
    gfsctl admin masters remove m5    # for good; if it leads, another one leads first
    """,
)
@click.argument("name")
@pass_session
def remove_master(session: Session, name: str) -> None:
    """Take a master out for good; its name is never used again.

    Refused (exit status 5) when those that remain could not go on. Exit status 3: no such master.
    """
    _tell(session, _members(session).remove(name))


def _members(session: Session) -> MasterMembers:
    from gfs_ha.runtime import ThreadedRuntime

    return session.operations.members(ThreadedRuntime())


def _where(session: Session, name: str, address: str | None) -> MasterAddress:
    if address is None:
        known = session.config.cluster.master(name)
        if known is None:
            raise UsageError(f"the configuration does not name {name}; say where it is: {_ADDRESS}")
        return known
    host, port, raft_port = [*address.rsplit(":", 2), "", ""][:3]
    if not host or not port.isdigit() or not raft_port.isdigit():
        raise UsageError(f"{address!r} is not {_ADDRESS}")
    if int(port) == int(raft_port):
        raise UsageError(f"{address!r} names one port twice: {_ADDRESS}")
    return MasterAddress(name, host.strip("[]"), int(port), int(raft_port))


def _tell(session: Session, steps: Iterator[str]) -> None:
    """Tell each step as it is done, and programs who the masters are at the end."""
    mode = session.options.machine_readable
    for step in steps:
        if mode:
            session.note(step)
        else:
            output.write_lines([step])
            output.flush()
    if mode:
        rows: list[dict[str, Any]] = [
            {"name": row.name, "host": row.host, "port": row.port, "voter": row.voter}
            for row in session.operations.masters().items
        ]
        session.show_plain("Members", rows)
