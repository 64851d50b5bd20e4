"""`gfsctl admin status`: the cluster on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import click
from msgspec import structs
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunkservers import by_name
from gfs_ha.cli.admin.masters import role_text, with_facts
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.protocol.reports import MasterRow, ServerRow, StatusReport
from gfs_ha.protocol.scrub import ScrubSummary

_COPIES = ("0", "1", "2", "3+")


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
    servers = tuple(sorted(report.servers, key=by_name))
    masters = with_facts(session, report.masters)
    session.show(structs.replace(report, masters=masters, servers=servers))


@names.register
def _(report: StatusReport) -> Iterator[str]:
    yield report.cluster_name


@render.register
def _(report: StatusReport, wide: bool) -> Group:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    grid.add_row("cluster", _cluster_line(report))
    grid.add_row("masters", _masters_line(report.masters))
    grid.add_row("servers", _servers_line(report.servers))
    grid.add_row("chunks", _chunks_lines(report))
    if report.scrub is not None:
        grid.add_row("scrub", _scrub_line(report.scrub))
    grid.add_row("files", _files_line(report))
    for finding in report.health.items:
        style = "red" if finding.severity == "error" else "yellow"
        text = Text(f"{finding.code}  ", style=style)
        text.append(f"{finding.message}; {finding.advice}", style="")
        grid.add_row("alert", text)
    if not report.health.items:
        grid.add_row("alerts", Text("none"))
    return Group(grid)


def _cluster_line(report: StatusReport) -> Text:
    text = Text(f"{printable(report.cluster_name)}  ")
    healthy = report.health.healthy
    text.append("HEALTHY" if healthy else "NOT HEALTHY", "green" if healthy else "bold red")
    if report.leader:
        age = duration_text(report.leader_age_ms)
        text.append(f"   leader {report.leader} (term {report.term}, {age})")
    else:
        text.append(f"   no leader for {duration_text(report.leader_age_ms)}", "red")
    text.append(f"   applied {count_text(report.applied_index)}")
    failovers = report.failover_count
    if failovers < 0:
        failovers = max(0, len(report.failovers) - 1)
    text.append(f"   {count_text(failovers, 'failover')}")
    return text


def _masters_line(masters: tuple[MasterRow, ...]) -> Text:
    text = Text()
    for row in masters:
        role = role_text(row)
        leads = role == "leader"
        style = "bold" if leads else ("red" if role in ("unreachable", "silent") else "")
        text.append(f"{row.name} {'LEADER' if leads else role}", style)
        if row.facts is not None and not leads and row.lag_entries:
            text.append(f" {count_text(row.lag_entries)} behind", "yellow")
        text.append("   ")
    leader = next((row.facts for row in masters if row.facts and role_text(row) == "leader"), None)
    if leader is not None:
        text.append(
            f"commit p50 {leader.commit_p50_us / 1000:.1f} ms "
            f"p99 {leader.commit_p99_us / 1000:.1f} ms   rss {size_text(leader.rss_bytes)}   "
            f"lmdb {size_text(leader.state_bytes)}/{size_text(leader.map_bytes)}"
        )
    text.rstrip()
    return text


def _servers_line(servers: tuple[ServerRow, ...]) -> Text:
    states = Counter(server.state for server in servers)
    text = Text(f"{states['live']} live")
    for state, style in (("suspect", "yellow"), ("dead", "red")):
        text.append("  ")
        text.append(f"{states[state]} {state}", style if states[state] else "")
        missing = [server.name for server in servers if server.state == state]
        if missing:
            text.append(f" ({', '.join(missing[:5])}{', …' if len(missing) > 5 else ''})", style)
    text.append(f"   racks {len({server.rack for server in servers})}")
    total = sum(server.total_bytes for server in servers)
    if total:
        used = 1 - sum(server.free_bytes for server in servers) / total
        low = min(servers, key=lambda server: server.disk_usage)
        high = max(servers, key=lambda server: server.disk_usage)
        text.append(
            f"   disk {share_text(used)} ({low.name} {share_text(low.disk_usage)} … "
            f"{high.name} {share_text(high.disk_usage)})"
        )
    return text


def _chunks_lines(report: StatusReport) -> Text:
    text = Text(f"{count_text(report.chunk_count)}   copies ")
    for copies in _COPIES:
        count = report.chunks_by_copies.get(copies, 0)
        bad = count and copies in ("0", "1")
        text.append(f" {copies}: ")
        text.append(count_text(count), "red" if bad else "")
    text.append(f"   goal {report.goal}, ")
    text.append(f"{count_text(report.under_count)} below", "yellow" if report.under_count else "")
    text.append(
        f"   open {count_text(report.open_count)}  sealing {count_text(report.sealing_count)}"
        f"  dead {count_text(report.dead_count)}   of {size_text(report.chunk_bytes)}"
    )
    return text


def _scrub_line(scrub: ScrubSummary) -> Text:
    text = Text()
    if scrub.paused:
        text.append("PAUSED   ", "yellow")
    text.append(f"{share_text(scrub.share)} of this round")
    if scrub.running:
        text.append(f"   {count_text(scrub.running, 'disk')} at {size_text(scrub.bytes_per_s)}/s")
    text.append(f"   {scrub.found} bad", "bold red" if scrub.found else "")
    return text


def _files_line(report: StatusReport) -> Text:
    return Text(
        f"{count_text(report.file_count)}   directories {count_text(report.directory_count)}"
        f"   sessions {count_text(report.session_count)}"
    )
