"""The cluster on one screen (pure): what `gfsctl admin status` shows, at any width."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.cli.live.alerts import findings_lines
from gfs_ha.cli.live.flow import LABEL, flow, labelled
from gfs_ha.cli.live.spans import (
    BAD,
    FAINT,
    GOOD,
    PLAIN,
    STRONG,
    WARN,
    Line,
    Span,
    fit,
    length,
    line,
)
from gfs_ha.cli.live.words import NOTHING, eta_text, latency_text, often_text, rate_text
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.limits import LED_TERMS_MAX
from gfs_ha.protocol.disk_counts import disks_out_text
from gfs_ha.protocol.jobs import PAUSED, JobRow
from gfs_ha.protocol.overview import COPIES, GoalRow, MasterClock, Overview, ServerTotals
from gfs_ha.protocol.rates import ServedRate
from gfs_ha.protocol.reports import MasterRow, StatusReport

_WEEK_MS = 7 * 24 * 3600 * 1000
_UNLIMITED = 1_000
FAR_BEHIND = 1_000  # Entries; a few are always on their way.
_CLOCK_OFF_US = 100_000


def summary(report: StatusReport, overview: Overview, width: int) -> list[Line]:
    """Return the cluster on one screen: leader, masters, servers, chunks, work, findings."""
    lines = flow("cluster", cluster_pieces(report, overview), width)
    lines += flow("masters", masters_pieces(report.masters, overview.clocks), width)
    lines += flow("servers", servers_pieces(overview), width)
    lines += flow("clients", clients_pieces(overview), width)
    lines += _chunks(report, overview, width)
    lines += flow("jobs", jobs_pieces(overview), width)
    lines += findings_lines(report.health.items, width)
    return lines


# The cluster and its masters ----------------------------------------------------------------------


def cluster_pieces(report: StatusReport, overview: Overview) -> list[Line]:
    """Return name, health, leader and how far the masters are."""
    pieces = [line((report.cluster_name, STRONG), "  ", health_span(report))]
    if report.leader:
        age = duration_text(report.leader_age_ms)
        pieces.append(line(f"leader {report.leader} (term {report.term}, {age})"))
    else:
        pieces.append(line((f"no leader for {duration_text(report.leader_age_ms)}", BAD)))
    marks = [_mark(report, row) for row in report.masters]
    applied: list[str | Span] = [f"applied {count_text(report.applied_index)}"]
    for mark in marks:
        applied += [" ", mark]
    pieces += [line(*applied), line(_failovers(report))]
    return pieces


def health_span(report: StatusReport) -> Span:
    """Return HEALTHY or not, by what there is to say."""
    if report.health.healthy:
        return "HEALTHY", GOOD
    errors = any(one.severity == "error" and not one.muted_ms for one in report.health.items)
    return "NOT HEALTHY", BAD if errors or not report.health.items else WARN


def _mark(report: StatusReport, row: MasterRow) -> Span:
    """Return `=` of a master that has applied all, else how much it lacks."""
    if row.facts is None:
        return ("?", WARN)
    lag = 0 if row.name == report.leader else row.lag_entries
    return (
        ("=", FAINT) if not lag else (f"-{count_text(lag)}", WARN if lag >= FAR_BEHIND else FAINT)
    )


def _failovers(report: StatusReport) -> str:
    gaps = [row.facts.longest_gap_ms for row in report.masters if row.facts is not None]
    longest_ms = max(gaps, default=-1)
    longest = f" (longest {longest_ms / 1000:.1f} s)" if longest_ms >= 0 else ""
    if report.week_failovers >= LED_TERMS_MAX - 1:
        return f"failovers 7 d: {report.week_failovers:,}+{longest}"  # Older ones are not recorded.
    if report.week_failovers >= 0:
        return f"failovers 7 d: {count_text(report.week_failovers)}{longest}"
    total = report.failover_count  # An older release tells no more.
    return count_text(total if total >= 0 else max(0, len(report.failovers) - 1), "failover")


def masters_pieces(masters: Sequence[MasterRow], clocks: Sequence[MasterClock]) -> list[Line]:
    """Return each master with its role, lag and clock, and the leader's store."""
    from gfs_ha.cli.admin.masters import role_text

    by_name = {clock.name: clock for clock in clocks}
    pieces = []
    for row in masters:
        role = role_text(row)
        leads = role == "leader"
        bad = row.facts is None
        style = STRONG if leads else BAD if bad else PLAIN
        told: list[str | Span] = [(f"{row.name} {'LEADER' if leads else role}", style)]
        if row.name in by_name and not leads:
            told += [" ", clock_span(by_name[row.name])]
        pieces.append(line(*told))
    leader = next((row.facts for row in masters if row.facts and row.facts.role == "leader"), None)
    if leader is not None:
        p50, p99 = leader.commit_p50_us, leader.commit_p99_us
        pieces += [
            line(f"commit p50 {latency_text(p50)} p99 {latency_text(p99)}"),
            line(f"rss {size_text(leader.rss_bytes)}"),
            line(f"lmdb {size_text(leader.state_bytes)} of {size_text(leader.map_bytes)}"),
        ]
    return pieces


def clock_span(clock: MasterClock) -> Span:
    """Return how far a clock is ahead, or within how much that cannot be told from nothing."""
    within = clock.within_us / 1000
    if abs(clock.ahead_us) <= clock.within_us:
        return f"±{within:.1f} ms", FAINT
    ahead = clock.ahead_us
    text = f"{ahead / 1000:+.1f} ms" if abs(ahead) < 1_000_000 else f"{ahead / 1e6:+.1f} s"
    return text, WARN if abs(ahead) >= _CLOCK_OFF_US else PLAIN


# Servers and clients ------------------------------------------------------------------------------


def servers_pieces(overview: Overview, brief: bool = False, named: bool = True) -> list[Line]:
    """Return how many servers are how, racks and room; `brief`: what matters most comes first."""
    totals = overview.servers
    if totals.count and not totals.live + totals.suspect + totals.dead:
        # A master that does not lead: only a leader is told by servers that they live.
        known = line((f"{count_text(totals.count)} known, heard by no leader", WARN))
        return [known, line(f"racks {totals.racks}")]
    silent = [
        line(
            (
                f"{count_text(count)} {word}{_named(names, count) if named else ''}",
                style if count else FAINT,
            )
        )
        for count, word, names, style in (
            (totals.suspect, "suspect", totals.suspects, WARN),
            (totals.dead, "dead", totals.gone, BAD),
        )
        if count or not brief
    ]
    standing = []
    if totals.leaving:
        told: list[str | Span] = [(f"{count_text(totals.leaving)} leaving", WARN)]
        job = next((job for job in overview.running if job.server), None)
        if job is not None and not brief:
            told.append(f" ({job.server} {_far_text(job)})")
        standing.append(line(*told))
    for count, word in ((totals.left, "empty"), (totals.maintenance, "in maintenance")):
        if count:
            standing.append(line((f"{count_text(count)} {word}", WARN)))
    live = line(f"{count_text(totals.live)} live")
    around = [line(f"racks {totals.racks}"), line(*disk_spans(totals))]
    if brief:
        return [live, *reversed(silent), *standing, *reversed(around)]
    return [live, *standing, *silent, *around]


def _named(names: Sequence[str], count: int) -> str:
    return f" ({', '.join(names)}{', …' if count > len(names) else ''})" if names else ""


def disk_spans(totals: ServerTotals) -> list[str | Span]:
    """Return how full all disks are, and the emptiest and the fullest server."""
    told = disks_out_text(totals.disks)
    out = [(f", {told}", WARN)] if told else []
    if not totals.total_bytes:
        return [f"disk {NOTHING}", *out]
    used = share_text(1 - totals.free_bytes / totals.total_bytes)
    if totals.unheard:
        return [
            f"disk {used} ({count_text(totals.unheard)} not heard yet)",
            *out,
        ]
    if totals.count < 2 or not totals.high:
        return [f"disk {used}", *out]
    ends = (
        f"{totals.low} {share_text(totals.low_usage)} … "
        f"{totals.high} {share_text(totals.high_usage)}"
    )
    return [f"disk {used} ({ends})", *out]


def clients_pieces(overview: Overview) -> list[Line]:
    """Return what clients do: bytes, operations and waiting time by kind."""
    load = overview.load
    if not overview.measured:
        return [line(("not measured yet", FAINT))]
    if not (load.read.per_s or load.write.per_s or load.append.per_s or load.queue):
        return [line(("idle", FAINT))]
    pieces = [
        line(*_served(word, rate, bytes_per_s))
        for word, rate, bytes_per_s in (
            ("read", load.read, load.read.bytes_per_s),
            ("put", load.write, load.put_bytes_per_s),
            ("append", load.append, load.append.bytes_per_s),
        )
    ]
    return [*pieces, line(f"queue {count_text(load.queue)}")]


def _served(word: str, rate: ServedRate, bytes_per_s: int) -> list[str | Span]:
    if not rate.per_s:
        return [(f"{word} {NOTHING}", FAINT)]
    often, p99 = often_text(rate.per_s), latency_text(rate.p99_us)
    return [f"{word} {rate_text(bytes_per_s)}  {often}  p99 {p99}"]


# Chunks and what is done about them ---------------------------------------------------------------


def _chunks(report: StatusReport, overview: Overview, width: int) -> list[Line]:
    matrix = matrix_lines(overview.goals)
    leases, repair = _lease_piece(overview, "leases "), repair_piece(overview, "repair ")
    scrub, states = _scrub_piece(report, "scrub "), _state_piece(report, "chunks ")
    files = _file_piece(report, "files ")
    for beside in (
        [[leases, repair], [scrub, states], [files]],
        [[leases], [repair], [scrub], [states], [files]],
    ):
        found = _side_by_side(matrix, beside, width)
        if found is not None:
            return found
    lines = labelled("chunks", matrix)
    lines += flow("", [_state_piece(report, "all ")], width)
    lines += flow("leases", [_lease_piece(overview, "")], width)
    lines += flow("repair", [repair_piece(overview, "")], width)
    lines += flow("scrub", [_scrub_piece(report, "")], width)
    lines += flow("files", [_file_piece(report, "")], width)
    return lines


def _side_by_side(
    matrix: Sequence[Line], beside: Sequence[Sequence[Line]], width: int
) -> list[Line] | None:
    """Return the matrix with other lines at its right; None when there is no room for that."""
    wide = max(length(row) for row in matrix) + 4
    room = width - wide - LABEL
    gaps = 3
    needs = [sum(length(one) + gaps for one in pieces) - gaps for pieces in beside]
    if width >= _UNLIMITED or max(needs) > room:
        return None
    right = [tuple(flow("", pieces, room + LABEL)[0][1:]) for pieces in beside]
    lines: list[Line] = []
    for at in range(max(len(matrix), len(right))):
        left = matrix[at] if at < len(matrix) else ()
        space = (" " * (wide - length(left)), PLAIN)
        lines.append((*left, space, *right[at]) if at < len(right) else tuple(left))
    return labelled("chunks", lines)


def matrix_lines(goals: Sequence[GoalRow]) -> list[Line]:
    """Return the chunks by goal and copies, one goal a line; what lacks copies is coloured.

    There are columns up to the largest goal, so that what lacks one copy is in one of its own.
    """
    if not goals:
        return [line(("being counted", FAINT))]
    told = all(row.copies for row in goals)
    top = max(len(COPIES) - 1, *(row.goal for row in goals)) if told else len(COPIES) - 1
    titles = [str(at) if at < top else f"{top}+" for at in range(top + 1)]
    rows = [row.by_copies(top) for row in goals]
    widths = [
        max(len(title), *(len(count_text(row[at])) for row in rows))
        for at, title in enumerate(titles)
    ]
    head = [fit(title, width, right=True) for title, width in zip(titles, widths, strict=True)]
    lines = [line("copies   ", ("  ".join(head), FAINT))]
    for one, row in zip(goals, rows, strict=True):
        spans: list[str | Span] = [f"goal {one.goal:<4}"]
        for at, count in enumerate(row):
            style = FAINT if not count else BAD if not at else WARN if at < one.goal else PLAIN
            if at == top and count:
                style = PLAIN  # Of goals above that it is not told.
            spans += [(fit(count_text(count), widths[at], right=True), style), "  "]
        lines.append(line(*spans[:-1]))
    return lines


def _lease_piece(overview: Overview, word: str) -> Line:
    leases = overview.leases
    if not leases.tails:
        return line((f"{word}none", FAINT))
    ending = f" ({count_text(leases.ending)} end within 10 s)"
    return line(f"{word}{count_text(leases.tails)}", (ending, WARN if leases.ending else FAINT))


def below_goal(overview: Overview) -> int:
    """Return of how many chunks fewer copies can be read than are wanted."""
    return sum(row.below for row in overview.goals)


def repair_piece(overview: Overview, word: str) -> Line:
    """Return what repair has left, how fast it is, and for how long still."""
    repair = overview.repair
    if not repair.copies and not repair.lost:
        below = below_goal(overview)
        if below:
            # Of servers that are silent, and not dead yet: they may come back.
            return line((f"{word}{count_text(below)} below their goal", WARN), ", none to copy yet")
        return line((f"{word}nothing to do", FAINT))
    left = repair.copies - repair.unplaced
    told: list[str | Span] = [(f"{word}{count_text(left)} left", WARN)]
    if repair.unplaced:
        beyond = (f"{count_text(repair.unplaced)} that no server can take", WARN)
        told = [*told, "  ", beyond] if left else [word, beyond]
    if repair.lost:
        told += ["  ", (f"{count_text(repair.lost)} without any copy", BAD)]
    if repair.hold:
        return line(*told, "  ", ("held", WARN))
    if repair.bytes_per_s:
        told += ["  ", rate_text(repair.bytes_per_s)]
    if repair.eta_ms >= 0 and repair.copies:
        told += ["  ", eta_text(repair.eta_ms)]
    return line(*told)


def _scrub_piece(report: StatusReport, word: str) -> Line:
    scrub = report.scrub
    if scrub is None:
        return line((f"{word}not told", FAINT))
    told: list[str | Span] = [(f"{word}paused ", WARN) if scrub.paused else word]
    told.append(f"{share_text(scrub.share)} of this round, ")
    told.append((f"{count_text(scrub.found)} bad", BAD if scrub.found else PLAIN))
    if scrub.running and scrub.bytes_per_s:
        told.append(f"  {rate_text(scrub.bytes_per_s)}")
    return line(*told)


def _state_piece(report: StatusReport, word: str) -> Line:
    return line(
        f"{word}{count_text(report.chunk_count)}  open {count_text(report.open_count)}  "
        f"sealing {count_text(report.sealing_count)}  dead {count_text(report.dead_count)}"
    )


def _file_piece(report: StatusReport, word: str) -> Line:
    return line(
        f"{word}{count_text(report.file_count)}  "
        f"directories {count_text(report.directory_count)} with /  "
        f"sessions {count_text(report.session_count)}"
    )


# Work and findings --------------------------------------------------------------------------------


def jobs_pieces(overview: Overview) -> list[Line]:
    """Return the jobs that run, how far and how fast they are, and for how long still."""
    if not overview.running:
        return [line(("none", FAINT))]
    pieces = [line(*job_spans(job)) for job in overview.running]
    more = overview.jobs - len(overview.running)
    return [*pieces, line((f"{count_text(more)} more", FAINT))] if more > 0 else pieces


def job_spans(job: JobRow) -> list[str | Span]:
    """Return one job in a few words."""
    what = f"{job.kind} {job.server}" if job.server else job.kind
    told: list[str | Span] = [f"{what} ", (job.id, STRONG), f" {share_text(job.share)}"]
    if job.phase == PAUSED:
        told += [" ", ("paused", WARN)]
    elif job.waits and not job.blocked:
        told += [" ", (f"waits: {job.waits}", WARN)]
    else:
        told += [f" {rate_text(job.bytes_per_s)}"] if job.bytes_per_s else []
        told += [f" {eta_text(job.eta_ms)}"] if job.eta_ms >= 0 else []
    if job.blocked:
        told += [" ", (f"{count_text(job.blocked, 'chunk')} blocked", BAD)]
    return told


def _far_text(job: JobRow) -> str:
    eta = eta_text(job.eta_ms) if job.phase != PAUSED else ""
    return f"{share_text(job.share)}{', ' if eta else ''}{eta}"
