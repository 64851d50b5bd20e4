"""`gfsctl admin health`: what is not as it should be, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import Unhealthy
from gfs_ha.protocol.reports import HealthReport

_STYLES = {"error": "red", "warning": "yellow"}


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin health                  # findings; exit status 8 unless healthy
    gfsctl admin health -q && deploy     # as a gate in a script
    gfsctl admin health -o json          # codes for a monitor
    """,
)
@watched
@pass_session
def health(session: Session) -> None:
    """Show what is not as it should be. Exit status 0 when healthy, 8 when not."""
    report = session.operations.health()
    session.show(report)
    if not report.healthy and not session.watching:
        errors = sum(finding.severity == "error" for finding in report.items)
        raise Unhealthy(
            f"the cluster is not healthy: {count_text(errors, 'error')}, "
            f"{count_text(len(report.items) - errors, 'warning')}"
        )


@names.register
def _(report: HealthReport) -> Iterator[str]:
    for finding in report.items:
        yield finding.code


@render.register
def _(report: HealthReport, wide: bool) -> Group:
    head = Text("HEALTHY", "green") if report.healthy else Text("NOT HEALTHY", "bold red")
    if not report.items:
        return Group(head)
    table = Table("Severity", "Code", "What", "What to do", box=None)
    for finding in report.items:
        style = _STYLES.get(finding.severity, "")
        table.add_row(Text(finding.severity, style), finding.code, finding.message, finding.advice)
    return Group(head, table)
