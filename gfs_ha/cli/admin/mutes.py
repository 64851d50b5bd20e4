"""`gfsctl admin health mute` and `unmute`: findings that do not count for a while."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.health_detail import known_code
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.spans import Span
from gfs_ha.cli.units import count_text, duration_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.jobs import own_name
from gfs_ha.errors import NotFound
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
@dry_run_option
@pass_session
def mute(session: Session, code: str, for_ms: int, reason: str, dry_run: bool) -> None:
    """Let findings of a code not count for exit status 8 for a while; they are shown all the same.

    A mute covers what there is now: it ends by itself when that gets worse, so when a finding is
    an error that was a warning, or is about a server or master that had none. Without such a
    finding now it covers all that may come. It ends by the cluster's time, whoever leads.
    """
    wanted = known_code(code)
    if for_ms > MUTE_MS_MAX:
        raise click.BadParameter("30d at most", param_hint="--for")
    if dry_run:
        _show_change(session, wanted, f"would mute {wanted} for {duration_text(for_ms)}")
        return
    who = own_name(session.config.client.machine)
    session.show(session.operations.events.mute(wanted, for_ms, reason, who))


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin health unmute SERVER_DEAD
    """,
)
@click.argument("code", metavar="CODE")
@dry_run_option
@pass_session
def unmute(session: Session, code: str, dry_run: bool) -> None:
    """Let findings of a code count again."""
    wanted = known_code(code)
    muted = [one.code for one in session.operations.health().mutes]
    if wanted not in muted:
        raise NotFound(f"{wanted} is not muted; muted are: {', '.join(muted) or 'none'}")
    if dry_run:
        _show_change(session, wanted, f"would unmute {wanted}")
        return
    who = own_name(session.config.client.machine)
    report = session.operations.events.mute(wanted, 0, "", who)
    if session.options.output in (TABLE, WIDE):
        rest = "" if report.items else "; nothing is muted any more"
        output.write_lines([f"{wanted} counts again{rest}"])
        if not report.items:
            return
    session.show(report)


def _show_change(session: Session, code: str, text: str) -> None:
    """Say what findings there are now that a mute would be about."""
    report = session.operations.health()
    found = [finding for finding in report.items if finding.code == code]
    muted = any(one.code == code for one in report.mutes)
    if session.options.machine_readable:
        facts = {"code": code, "findings": len(found), "muted": muted}
        session.show_plain("MutePlan", [facts], dry_run=True)
    elif session.options.output == NAME:
        output.write_lines([code])
    else:
        standing = count_text(len(found), "finding") if found else "no finding"
        known = "muted" if muted else "not muted"
        output.write_lines([f"{text}; it is {known} now, and there is {standing} of it"])


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
