"""`gfsctl admin masters add, replace, remove`: who the masters are, changed while they serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.options import NAME
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.member_plan import MemberPlan, majority_of
from gfs_ha.client.members import MasterMembers
from gfs_ha.config import MasterAddress
from gfs_ha.errors import GfsError, NotFound, UsageError
from gfs_ha.strict_toml import check_name

_ADDRESS = "HOST:PORT:RAFT_PORT"

_dry_run = click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.command(
    "add",
    cls=Verb,
    examples="""
    gfsctl admin masters add m4                        # where my configuration says
    gfsctl admin masters add m4 10.0.0.4:7100:7200     # there
    gfsctl admin masters add m4 -n                     # only say who would vote then
    """,
)
@click.argument("name")
@click.argument("address", required=False, metavar=f"[{_ADDRESS}]")
@_dry_run
@pass_session
def add_master(session: Session, name: str, address: str | None, dry_run: bool) -> None:
    """Add a master: it learns all there is, then it votes.

    Start it first, on an empty directory and without --bootstrap; its file names the masters that
    are there, and itself. --timeout is the longest time without progress while it learns. If this
    ends or is interrupted before, the same again goes on. Exit status 4: it is a master already,
    or its directory is not empty; 5: it does not answer, and nothing was changed.
    """
    _check_name(name)
    members = _members(session)
    master = _where(session, name, address, members)
    if dry_run:
        _tell_plan(session, members.plan_add(master))
        return
    _tell(session, members.add(master))


@click.command(
    "replace",
    cls=Verb,
    examples="""
    gfsctl admin masters replace m3 m4                      # m4 for m3, which may be dead
    gfsctl admin masters replace m3 m4 10.0.0.4:7100:7200   # where m4 is
    gfsctl admin masters replace -y m3 m4                   # in a script
    """,
)
@click.argument("old")
@click.argument("new")
@click.argument("address", required=False, metavar=f"[{_ADDRESS}]")
@_dry_run
@_yes
@pass_session
def replace_master(
    session: Session, /, old: str, new: str, address: str | None, **how: bool
) -> None:
    """Put a new master into the place of an old one: learns, votes, and the old one is out.

    Reads and writes go on all the time. It asks first, if there is a terminal; -y for scripts.
    --timeout is the longest time without progress while the new one learns. If this ends or is
    interrupted before, the same again goes on; once all is done it says so (exit status 0).
    Afterwards write the new one into the configuration files instead of the old one. Exit status
    3: no such master; 4: the new one is a master already, or its directory is not empty; 5: it
    does not answer, and nothing was changed.
    """
    _check_name(new)
    members = _members(session)
    if address is None and members.where_is(old) is None and members.where_is(new) is None:
        raise NotFound(f"there is no master {old!r} to be replaced; see `gfsctl admin masters ls`")
    master = _where(session, new, address, members)
    plan = members.plan_replace(old, master)
    if _agreed(session, plan, f"replace {old} by {new}?", **how):
        _tell(session, members.replace(old, master))
        _warn_of_others(session, plan)


@click.command(
    "remove",
    cls=Verb,
    examples="""
    gfsctl admin masters remove m5       # for good; if it leads, another one leads first
    gfsctl admin masters remove m5 -n    # only say who would vote then
    gfsctl admin masters remove m5 -y    # in a script
    """,
)
@click.argument("name")
@_dry_run
@_yes
@pass_session
def remove_master(session: Session, /, name: str, **how: bool) -> None:
    """Take a master out for good; its name is never used again.

    It asks first, if there is a terminal; -y for scripts. Refused (exit status 5) when those that
    remain could not go on, and (4) for the last one that votes. Of who is no master it says so
    (exit status 0).
    """
    members = _members(session)
    plan = members.plan_remove(name)
    if _agreed(session, plan, f"take {name} out for good?", **how):
        _tell(session, members.remove(name))
        _warn_of_others(session, plan)


def _warn_of_others(session: Session, plan: MemberPlan) -> None:
    """Say who votes if that is not what was planned: another operator was at work, too."""
    try:
        voters = {row.name for row in session.operations.masters().items if row.voter}
    except GfsError:
        return  # The change itself is made; that nobody leads now is another matter.
    if voters != set(plan.voters_after):
        session.warn(
            f"somebody else changed the masters meanwhile: {', '.join(sorted(voters))} vote now"
            f" ({majority_of(sorted(voters))} of {len(voters)} decide), and not"
            f" {', '.join(plan.voters_after)}"
        )


def _agreed(session: Session, plan: MemberPlan, question: str, dry_run: bool, yes: bool) -> bool:
    """Return whether it is to be done; show the plan where that is asked for or is a surprise."""
    if dry_run:
        _tell_plan(session, plan)
        return False
    if yes or plan.done:
        for warning in plan.warnings:
            session.warn(warning)
        return True
    return session.confirm(f"{'; '.join(plan.lines())}. {question}")


def _tell_plan(session: Session, plan: MemberPlan) -> None:
    if session.options.machine_readable:
        facts = {
            "add": plan.joins if plan.learns else None,
            "remove": plan.leaves or None,
            "voters_before": list(plan.voters_before),
            "majority_before": majority_of(plan.voters_before),
            "voters_after": list(plan.voters_after),
            "majority_after": majority_of(plan.voters_after),
            "warnings": list(plan.warnings),
            "done": plan.done or None,
        }
        session.show_plain("MembersPlan", [facts], dry_run=True)
    elif session.options.output == NAME:
        output.write_lines(plan.voters_after)
    else:
        output.write_lines(
            f"would {line}" if at == 0 and not plan.done else line
            for at, line in enumerate(plan.lines())
        )


def _members(session: Session) -> MasterMembers:
    from gfs_ha.runtime import ThreadedRuntime

    return session.operations.members(ThreadedRuntime(), on_progress=_progress(session))


def _progress(session: Session) -> Callable[[str], None]:
    """Return what shows on a terminal how far a master is that learns."""
    if session.options.quiet or not output.stderr_is_terminal():
        return lambda text: None
    return output.overwrite


def _where(
    session: Session, name: str, address: str | None, members: MasterMembers
) -> MasterAddress:
    if address is None:
        known = session.config.cluster.master(name) or members.where_is(name)
        if known is None:
            raise UsageError(f"the configuration does not name {name}; say where it is: {_ADDRESS}")
        return known
    host, port, raft_port = [*address.rsplit(":", 2), "", ""][:3]
    if not host or not _is_port(port) or not _is_port(raft_port):
        raise UsageError(f"{address!r} is not {_ADDRESS}")
    if int(port) == int(raft_port):
        raise UsageError(f"{address!r} names one port twice: {_ADDRESS}")
    return MasterAddress(name, host.strip("[]"), int(port), int(raft_port))


def _check_name(name: str) -> None:
    """Raises: UsageError for what no master can be called."""
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) < 1 << 16


def _tell(session: Session, steps: Iterator[str]) -> None:
    """Tell each step as it is done, and programs who the masters are at the end."""
    mode = session.options.machine_readable
    named = session.options.output == NAME
    try:
        for step in steps:
            if output.stderr_is_terminal() and not session.options.quiet:
                output.overwrite("")
            if mode or named:
                session.note(step)
            else:
                output.write_lines([step])
                output.flush()
    except KeyboardInterrupt:
        if not mode:
            output.say("broken off between two steps; the same command again goes on where it was")
        raise
    if not mode and not named:
        return
    items = session.operations.masters().items
    if named:
        output.write_lines(row.name for row in items)
        return
    rows: list[dict[str, Any]] = [
        {"name": row.name, "host": row.host, "port": row.port, "voter": row.voter} for row in items
    ]
    session.show_plain("Members", rows)
