"""`gfsctl admin masters verify-state`: whether all masters hold the same tables."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group
from rich.table import Table

from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import GfsError, Unhealthy, Unreachable
from gfs_ha.protocol.state_checks import RowCount, StateReport


@click.command(
    "verify-state",
    cls=Verb,
    examples="""
    gfsctl admin masters verify-state           # one hash of each master, at one index
    gfsctl admin masters verify-state --deep    # every master counts all of its rows first
    gfsctl admin masters verify-state -o json   # for a monitor
    """,
)
@click.option("--deep", is_flag=True, help="Count all rows of every master first (slow).")
@pass_session
def verify_state(session: Session, deep: bool) -> None:
    """Compare the tables of all masters by their hash at one log index.

    A master that differs from the majority takes itself out for good. Exit status 0: all are
    equal; 8: one differs, or there is no majority; 5: one did not answer. The leader does this by
    itself every hour.
    """
    report = session.operations.verify_states(deep)
    session.show(report)
    error = _verdict(report)
    if error is not None:
        raise error


def _verdict(report: StateReport) -> GfsError | None:
    differing = [row.name for row in report.items if row.verdict == "differs"]
    if differing and not report.digest:
        return Unhealthy(
            f"no majority has the same state at log index {report.index}; bring missing masters"
            " back, and see gfsctl admin health"
        )
    gone = sorted({*differing, *report.diverged})
    if gone:
        return Unhealthy(
            f"{', '.join(gone)} did not have the state of the majority and takes itself out; see"
            " gfsctl admin health"
        )
    wrong = [row.name for row in report.items if row.count and _wrong(row.count)]
    if wrong:
        return Unhealthy(
            f"{', '.join(wrong)} had kept a wrong hash of the same rows as the others; it is put"
            " right: report this with its log"
        )
    silent = [row.name for row in report.items if row.verdict == "silent"]
    if silent:
        return Unreachable(f"{', '.join(silent)} did not answer; start it and verify again")
    broken = [row.name for row in report.items if row.count and not row.count.counted]
    if broken:
        return Unreachable(f"{', '.join(broken)} could not count its rows; see its log")
    return None


def _wrong(count: RowCount) -> bool:
    return bool(count.counted) and count.counted != count.kept


@names.register
def _(report: StateReport) -> Iterator[str]:
    for row in report.items:
        yield row.name


@render.register
def _(report: StateReport, wide: bool) -> Group:
    deep = any(row.count for row in report.items)
    table = Table("Master", "State", box=None)
    if deep:
        for title in ("Rows", "Kept hash"):
            table.add_column(title)
    for row in report.items:
        cells = [row.name, row.verdict]
        if deep and row.count is not None:
            kept = "wrong, put right" if _wrong(row.count) else "right"
            cells += [count_text(row.count.row_count), kept if row.count.counted else "not counted"]
        table.add_row(*cells)
    return Group(table, check_line(report))


def check_line(report: StateReport) -> str:
    """Return a comparison on one line."""
    equal = sum(row.verdict == "equal" for row in report.items)
    what = report.digest or "no majority"
    at = time_text(report.checked_ns)
    line = f"state {what} at log index {count_text(report.index)}, {at}: "
    line += f"{equal} of {len(report.items)} equal"
    if report.diverged:
        line += f"; taken out: {', '.join(report.diverged)}"
    return line
