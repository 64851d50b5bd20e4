"""`gfsctl admin health mute` and `unmute`: findings that do not count for a while."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.health_detail import known_code
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.spans import Span
from gfs_ha.cli.units import duration_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.jobs import own_name
from gfs_ha.limits import MUTE_MS_MAX
from gfs_ha.protocol.events import MuteReport

_FOR_MS = 3_600_000


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin health mute SERVER_DEAD --for 4h --reason "cs07 gets a new disk"
    gfsctl admin health mute SCRUB_LATE --for 7d
    gfsctl admin health unmute SERVER_DEAD
    """,
)
@click.argument("code", metavar="CODE")
@click.option(
    "--for", "for_ms", type=Span(), default=_FOR_MS, help="90s, 1h (default), 30d at most."
)
@click.option("--reason", metavar="TEXT", default="", help="Why; shown with it, and in the events.")
@pass_session
def mute(session: Session, code: str, for_ms: int, reason: str) -> None:
    """Let findings of a code not count for exit status 8 for a while; they are shown all the same.

    A mute covers what there is now: it ends by itself when that gets worse, so when a finding is
    an error that was a warning, or is about a server or master that had none. Without such a
    finding now it covers all that may come. It ends by the cluster's time, whoever leads.
    """
    wanted = known_code(code)
    if for_ms > MUTE_MS_MAX:
        raise click.BadParameter("30d at most", param_hint="--for")
    who = own_name(session.config.client.machine)
    session.show(session.operations.events.mute(wanted, for_ms, reason, who))


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin health unmute SERVER_DEAD
    """,
)
@click.argument("code", metavar="CODE")
@pass_session
def unmute(session: Session, code: str) -> None:
    """Let findings of a code count again."""
    who = own_name(session.config.client.machine)
    session.show(session.operations.events.mute(known_code(code), 0, "", who))


@names.register
def _(report: MuteReport) -> Iterator[str]:
    for row in report.items:
        yield row.code


@render.register
def _(report: MuteReport, wide: bool) -> Table | Text:
    if not report.items:
        return Text("nothing is muted")
    table = Table("Muted", "For", "By", "Since", "Why", box=None)
    for row in report.items:
        cells = (row.asked_by, time_text(row.made_ns), row.reason)
        table.add_row(row.code, duration_text(row.left_ms), *(printable(one) for one in cells))
    return table
