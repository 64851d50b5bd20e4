"""`gfsctl admin masters`: the members, and every term that led."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click
from msgspec import structs
from rich.console import Group
from rich.table import Table

from gfs_ha.cli import output
from gfs_ha.cli.admin.verify import check_line
from gfs_ha.cli.listing import listing
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, size_text, time_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.client.membership import newest_members
from gfs_ha.errors import DeadlineExceeded, GfsError, NoLeader, Unreachable
from gfs_ha.protocol.reports import LeadershipReport, LedTerm, MasterFacts, MasterReport, MasterRow

_LEADER_WITHIN_S = 2.0  # Longer than an election.

masters = Family(
    "masters",
    help="The masters and every term that led.",
    examples="""
    gfsctl admin masters ls                    # who leads, who follows, how far behind
    gfsctl admin masters show m1               # one of them, its log and its store
    gfsctl admin masters replace m3 m4         # a new one for a dead one
    gfsctl admin masters transfer-leader m2    # before work on the leader's machine
    """,
    rows={
        "ls": Row("gfs_ha.cli.admin.masters", "list_masters", "List the masters"),
        "show": Row("gfs_ha.cli.admin.master", "show_master", "Show one master and its store"),
        "add": Row("gfs_ha.cli.admin.members", "add_master", "Add a master"),
        "replace": Row(
            "gfs_ha.cli.admin.members", "replace_master", "A new master for an old or dead one"
        ),
        "remove": Row("gfs_ha.cli.admin.members", "remove_master", "Take a master out for good"),
        "transfer-leader": Row(
            "gfs_ha.cli.admin.masters", "transfer_leader", "Let another master lead"
        ),
        "verify-state": Row("gfs_ha.cli.admin.verify", "verify_state", "Compare their tables"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin masters ls             # who leads, who follows, how far behind
    gfsctl admin masters ls -o wide     # also log, state and commit times, and the terms that led
    gfsctl admin masters ls -o json     # the same for programs, with `terms`
    """,
)
@watched
@pass_session
def list_masters(session: Session) -> None:
    """List the masters: who leads, how far the others are behind, and who does not answer.

    Exit status 5: no leader answered within two seconds; what each master says of itself is shown.
    """
    operations = session.operations
    try:
        report = operations.masters(min(_LEADER_WITHIN_S, operations.timeout_s))
    except (NoLeader, DeadlineExceeded, Unreachable) as error:
        rows = _rows_without_leader(session)
        if not any(row.facts and row.facts.role == "leader" for row in rows):
            # Each master still says how it is; the error is told after that.
            session.show(MasterReport(rows, ()))
            raise error if isinstance(error, NoLeader) else NoLeader(error.message) from None
        report = operations.masters()  # It has much to do, or has just been elected.
    session.show(structs.replace(report, items=with_facts(session, report.items)))


@click.command(
    "transfer-leader",
    cls=Verb,
    examples="""
    gfsctl admin masters transfer-leader       # to the master that is furthest
    gfsctl admin masters transfer-leader m2    # to this one
    gfsctl admin masters transfer-leader -n    # only say who leads, and that it can be asked
    """,
)
@click.argument("to", required=False, default="")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@pass_session
def transfer_leader(session: Session, to: str, dry_run: bool) -> None:
    """Hand the leadership over to another master: no election, nobody loses a request.

    Exit status 3: no such master; 4: it leads already; 5: it is not caught up or did not take
    over, and the old leader leads on. A master that is stopped with SIGTERM does this by itself.
    """
    if not dry_run:
        session.show(session.operations.transfer_leadership(to))
        return
    leader = session.operations.plan_transfer(to)
    if session.options.machine_readable:
        facts = {"former": leader, "leader": to or None}
        session.show_plain("LeadershipPlan", [facts], dry_run=True)
    else:
        whom = to or "the master that is furthest"
        output.write_lines([f"would hand the leadership over from {leader} to {whom}"])


@names.register
def _(report: LeadershipReport) -> Iterator[str]:
    yield report.leader


@render.register
def _(report: LeadershipReport, wide: bool) -> str:
    return f"{report.leader} leads now, after {report.former} ({report.took_ms} ms)"


def with_facts(session: Session, rows: tuple[MasterRow, ...]) -> tuple[MasterRow, ...]:
    """Return the leader's rows, completed by what each master says of itself."""
    if all(row.facts for row in rows):
        return rows
    return completed(rows, session.operations.master_facts())


def completed(
    rows: tuple[MasterRow, ...], said: Mapping[str, MasterFacts | GfsError]
) -> tuple[MasterRow, ...]:
    """Return the leader's rows with what the masters said of themselves."""
    last_index = max((row.facts.last_index for row in rows if row.facts), default=0)
    found = []
    for row in rows:
        facts = said.get(row.name)
        if row.facts is None and isinstance(facts, MasterFacts):
            # A new leader does not know yet what a follower has; what that one applied it has.
            lag = min(row.lag_entries, max(0, last_index - facts.applied_index))
            row = structs.replace(row, facts=facts, lag_entries=lag)
        found.append(row)
    return tuple(found)


def _rows_without_leader(session: Session) -> tuple[MasterRow, ...]:
    said = session.operations.master_facts()
    rows = []
    members = newest_members(one for one in said.values() if isinstance(one, MasterFacts))
    for master in members or session.config.cluster.masters:
        facts = said.get(master.name)
        here = facts if isinstance(facts, MasterFacts) else None
        rows.append(MasterRow(master.name, master.host, master.port, here is not None, here))
    return tuple(rows)


@names.register
def _(report: MasterReport) -> Iterator[str]:
    for row in report.items:
        yield row.name


@render.register
def _(report: MasterReport, wide: bool) -> Group:
    table = listing("Master", "Role", "Address", ">Term", ">Applied", ">Behind", ">Commit p50")
    if wide:
        for title in ("p99", "Log", "State", "Map", "Disk free", "Memory", "Version"):
            table.add_column(title)
    for row in report.items:
        table.add_row(*_cells(row, wide))
    parts: list[Table | str] = [table]
    if report.check is not None:
        parts += ["", check_line(report.check)]
    return Group(*parts, "", terms_table(report.terms)) if wide else Group(*parts)


def role_text(row: MasterRow) -> str:
    """Return what a master is, or that it does not answer; of one that does not vote, that too."""
    if row.facts is None:
        silent = "silent" if row.reachable else "unreachable"
        role = f"{silent}: stopped for good, replace it" if row.trouble else silent
    else:
        role = _short(row.facts) or ("" if not row.voter else row.facts.role)
    return role if row.voter else ", ".join(filter(None, ("learner", role)))


def _short(facts: MasterFacts) -> str:
    return "removed" if facts.role == "removed" else facts.trouble


def _cells(row: MasterRow, wide: bool) -> list[str]:
    facts = row.facts
    address = f"{row.host}:{row.port}"
    if facts is None:
        return [row.name, role_text(row), address]
    cells = [
        row.name,
        role_text(row),
        address,
        str(facts.term),
        count_text(facts.applied_index),
        count_text(row.lag_entries),
        f"{facts.commit_p50_us / 1000:.1f} ms",
    ]
    if wide:
        cells += [
            f"{facts.commit_p99_us / 1000:.1f} ms",
            size_text(facts.log_bytes),
            size_text(facts.state_bytes),
            size_text(facts.map_bytes),
            size_text(facts.disk_free_bytes),
            size_text(facts.rss_bytes),
            facts.version,
        ]
    return cells


def terms_table(terms: tuple[LedTerm, ...]) -> Table:
    """Return the terms that led, oldest first."""
    table = listing(">Term", "Leader", "=Since", ">Lasted", ">First entry")
    for at, term in enumerate(terms):
        after = terms[at + 1].since_ms if at + 1 < len(terms) else None
        lasted = "leads now" if after is None else duration_text(max(0, after - term.since_ms))
        table.add_row(
            str(term.term),
            term.member,
            time_text(term.since_ms * 1_000_000),
            lasted,
            count_text(term.index),
        )
    return table
