"""`gfsctl admin status`: the cluster on one screen."""

from __future__ import annotations

from collections.abc import Iterator

import click
from msgspec import structs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from gfs_ha.cli.admin.chunkservers import by_name
from gfs_ha.cli.admin.masters import completed
from gfs_ha.cli.live.spans import RICH
from gfs_ha.cli.live.summary import summary
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.verb import Verb
from gfs_ha.protocol.overview import Overview, ServerTotals
from gfs_ha.protocol.reports import ServerRow, StatusReport


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin status              # the cluster on one screen
    gfsctl admin status -w           # again every two seconds
    gfsctl admin status -w 10        # again every ten seconds
    gfsctl admin status -o json      # the same report for programs
    """,
)
@watched
@pass_session
def status(session: Session) -> None:
    """Show the cluster on one screen: leader, masters, servers, chunks, findings."""
    report = session.operations.status()
    said, clocks = session.operations.live.masters()
    overview = report.overview or _older_overview(report.servers)
    session.show(
        structs.replace(
            report,
            masters=completed(report.masters, said),
            servers=tuple(sorted(report.servers, key=by_name)),
            overview=structs.replace(overview, clocks=clocks),
        )
    )


@names.register
def _(report: StatusReport) -> Iterator[str]:
    yield report.cluster_name


class Summary:
    """The status as rich prints it: laid out for the width that there is."""

    def __init__(self, report: StatusReport) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        overview = self._report.overview or _older_overview(self._report.servers)
        for line in summary(self._report, overview, options.max_width):
            text = Text(no_wrap=True)
            for piece, style in line:
                text.append(printable(piece), RICH.get(style, ""))
            text.rstrip()
            yield text


@render.register
def _(report: StatusReport, wide: bool) -> Summary:
    return Summary(report)


def _older_overview(servers: tuple[ServerRow, ...]) -> Overview:
    """Return what the rows of an older release's leader tell."""
    states = [server.state for server in servers]
    usages = sorted((server.disk_usage, server.name) for server in servers)
    low, high = (usages[0], usages[-1]) if usages else ((0.0, ""), (0.0, ""))
    totals = ServerTotals(
        count=len(servers),
        live=states.count("live"),
        suspect=states.count("suspect"),
        dead=states.count("dead"),
        racks=len({server.rack for server in servers}),
        total_bytes=sum(server.total_bytes for server in servers),
        free_bytes=sum(server.free_bytes for server in servers),
        low=low[1],
        low_usage=low[0],
        high=high[1],
        high_usage=high[0],
        suspects=tuple(server.name for server in servers if server.state == "suspect")[:6],
        gone=tuple(server.name for server in servers if server.state == "dead")[:6],
    )
    return Overview(wall_ns=0, servers=totals)
