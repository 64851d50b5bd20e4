"""A chunkserver or a master explained: how it is, since when, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.cli.explained.explanation import Explanation
from gfs_ha.cli.runbooks import Step, runbook, steps_for
from gfs_ha.cli.units import age_text, count_text, duration_text, share_text, size_text, time_text
from gfs_ha.ids import format_id
from gfs_ha.protocol.disk_counts import disks_out_text
from gfs_ha.protocol.events import EventItem
from gfs_ha.protocol.reports import Finding, MasterRow, ServerRow
from gfs_ha.protocol.server_modes import IN_SERVICE

EVENTS_SHOWN = 4
_STATES = {
    "live": "live",
    "suspect": "suspect: it is silent, gets nothing new, and its copies still count",
    "dead": "dead: its copies are made anew elsewhere",
}


def explain_server(
    row: ServerRow, findings: Sequence[Finding], events: Sequence[EventItem]
) -> Explanation:
    """Return how a chunkserver is; findings and events about it."""
    used = f", {share_text(row.disk_usage)} full" if row.mode == IN_SERVICE else ""
    age_ms = row.heartbeat_age_ms
    heard = age_text(age_ms) if age_ms >= 0 else "not yet by this leader"
    facts = [
        ("address", f"{row.host}:{row.port}, rack {row.rack}"),
        ("heard", heard),
        ("holds", f"{count_text(row.replica_count, 'replica')} by the tables{used}"),
    ]
    out = disks_out_text(row.disk_counts)
    if out:
        facts.append(("room", f"{out}: nothing new goes there, and they count as no room"))
    for disk in row.disks:
        free = f"{size_text(disk.free_bytes)} of {size_text(disk.total_bytes)} free"
        free += f", {disk.mode}" if disk.mode != IN_SERVICE else ""
        facts.append(("disk", f"{format_id(disk.disk_id)} {disk.failed or free}"))
    if row.mode != IN_SERVICE:
        job = f" by job {row.job}" if row.job else ""
        facts.append(("stands", f"{row.mode}{job}: nothing new goes there, and it is no room"))
    if row.maintenance_left_ms:
        left = duration_text(row.maintenance_left_ms)
        facts.append(("stands", f"in maintenance for {left} more: nothing is copied meanwhile"))
    if row.labels:
        facts.append(("labels", " ".join(f"{key}={value}" for key, value in row.labels)))
    own = [Step(f"gfsctl admin chunkservers show {row.name}", "all that is known of it")]
    if row.job:
        own.append(Step(f"gfsctl explain {row.job}", "the job that empties it"))
    state = _STATES.get(row.state, row.state)
    state += " once its maintenance ends" if row.state == "dead" and row.maintenance_left_ms else ""
    reasons = [row.reason] if row.reason else []
    return _explained("chunkserver", row.name, state, (facts, reasons), (findings, events), own)


def explain_master(
    row: MasterRow, leader: str, findings: Sequence[Finding], events: Sequence[EventItem]
) -> Explanation:
    """Return how a master is; findings and events about it."""
    facts = [("address", f"{row.host}:{row.port}")]
    if row.name != leader:
        facts.append(("behind", count_text(row.lag_entries, "entry", "entries")))
    if row.facts is not None:
        p50, p99 = row.facts.commit_p50_us / 1000, row.facts.commit_p99_us / 1000
        facts.append(("commits", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"))
        facts.append(("version", row.facts.version))
    role = "leads" if row.name == leader else "follows" if row.voter else "learns, does not vote"
    state = role if row.reachable or row.name == leader else "does not answer"
    reasons = [row.trouble] if row.trouble else []
    own = [Step(f"gfsctl admin masters show {row.name}", "all that is known of it")]
    return _explained("master", row.name, state, (facts, reasons), (findings, events), own)


def _explained(
    about: str,
    name: str,
    state: str,
    known: tuple[list[tuple[str, str]], list[str]],
    told: tuple[Sequence[Finding], Sequence[EventItem]],
    own: list[Step],
) -> Explanation:
    facts, reasons = known
    findings, events = told
    facts += [
        ("lately" if not at else "", f"{time_text(one.wall_ns)}  {one.text}")
        for at, one in enumerate(events[-EVENTS_SHOWN:])
    ]
    steps = list(own)
    rules: dict[str, list[str]] = {}  # Each once: several findings may follow from one.
    for finding in findings:
        book = runbook(finding.code)
        if book is not None:
            codes = rules.setdefault(book.rule, [])
            codes += [finding.code] * (finding.code not in codes)
            steps += [one for one in steps_for(book, name, finding.facts) if one not in steps]
    steps.append(Step(f"gfsctl admin events --subject {name}", "its story"))
    unique: dict[str, Step] = {}
    for one in steps:
        unique.setdefault(one.command, one)
    return Explanation(
        about=about,
        name=name,
        well=not findings and not reasons,
        verdict=state,
        facts=tuple(facts),
        rules=tuple(f"{', '.join(codes)}: {rule}" for rule, codes in rules.items()),
        troubles=(*reasons, *(one.message for one in findings)),
        coming=tuple(dict.fromkeys(one.advice for one in findings)),
        next=tuple(unique.values()),
    )
