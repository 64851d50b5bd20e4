"""`gfsctl admin health`: what is not as it should be, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text
from gfs_ha.cli.verb import Row, VerbFamily
from gfs_ha.errors import Unhealthy, UsageError
from gfs_ha.protocol.reports import Finding, HealthReport

STYLES = {"error": "bold red", "warning": "yellow"}
_HERE = "gfs_ha.cli.admin"


@click.group(
    cls=VerbFamily,
    examples="""
    gfsctl admin health                  # findings; exit status 8 unless healthy
    gfsctl admin health detail           # each with rule, facts, likely cause, next command
    gfsctl admin health mute SERVER_DEAD --for 1h --reason "new disk"
    gfsctl admin health -q && deploy     # as a gate in a script
    gfsctl admin health -o json          # codes for a monitor
    """,
    rows={
        "detail": Row(f"{_HERE}.health_detail", "detail", "Each finding: rule, facts, cause, next"),
        "mute": Row(f"{_HERE}.mutes", "mute", "Let findings of a code not count for a while"),
        "unmute": Row(f"{_HERE}.mutes", "unmute", "Let them count again"),
    },
)
@watched
@pass_session
def health(session: Session) -> None:
    """Show what is not as it should be. Exit status 0 when healthy, 8 when not.

    What is muted is shown, and does not count.
    """
    if click.get_current_context().invoked_subcommand is not None:
        if session.watching:
            raise UsageError("say -w behind the command that is to be watched")
        return
    report = session.operations.health()
    session.show(report)
    if not report.healthy and not session.watching:
        counting = [finding for finding in report.items if not finding.muted_ms]
        errors = sum(finding.severity == "error" for finding in counting)
        raise Unhealthy(
            f"the cluster is not healthy: {count_text(errors, 'error')}, "
            f"{count_text(len(counting) - errors, 'warning')}"
            " (gfsctl admin health detail says why, and what to do)"
        )


@names.register
def _(report: HealthReport) -> Iterator[str]:
    for finding in report.items:
        yield finding.code


@render.register
def _(report: HealthReport, wide: bool) -> Group:
    head = Text("HEALTHY", "green") if report.healthy else Text("NOT HEALTHY", "bold red")
    standing = {finding.code for finding in report.items}
    waiting = [one for one in report.mutes if one.code not in standing]
    if waiting:
        said = ", ".join(f"{one.code} for {duration_text(one.left_ms)}" for one in waiting)
        head.append(f"   muted should it come: {said}", "dim")
    if not report.items:
        return Group(head)
    table = Table("Severity", "Code", "What", "What to do", box=None)
    for finding in report.items:
        style = "dim" if finding.muted_ms else ""
        cells = [Text(one, style) for one in (finding.code, finding.message, finding.advice)]
        table.add_row(severity_text(finding), *cells)
    return Group(head, table)


def severity_text(finding: Finding) -> Text:
    """Return how severe a finding is, or for how long it does not count."""
    if finding.muted_ms:
        return Text(f"muted {duration_text(finding.muted_ms)}", "dim")
    return Text(finding.severity, STYLES.get(finding.severity, ""))
