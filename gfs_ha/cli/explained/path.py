"""A file or directory explained: how it is kept, where it lies, whether all is well with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gfs_ha.cli.explained.explanation import Explanation
from gfs_ha.cli.explained.repairs import chunk_troubles, fewer, repair_coming, stuck_rows
from gfs_ha.cli.names import pasted
from gfs_ha.cli.runbooks import Step
from gfs_ha.cli.units import count_text, duration_text, size_text, time_text
from gfs_ha.ids import format_id
from gfs_ha.master.rules import RULE_TEXTS
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.metadata import FileStatus
from gfs_ha.protocol.policy import PolicyReport
from gfs_ha.protocol.repair import RepairReport
from gfs_ha.protocol.reports import ChunkRow, PlacementReport

_SERVERS_SHOWN = 8


@dataclass(frozen=True)
class FileSeen:
    """What was asked of the cluster about one file."""

    path: str
    status: FileStatus
    policy: PolicyReport
    placement: PlacementReport
    repair: RepairReport
    leases: Sequence[LeaseRow] = ()  # Of this file.


def explain_file(seen: FileSeen) -> Explanation:
    """Return what a file is, where its bytes are, and what comes."""
    rows = list({item.chunk.chunk_id: item.chunk for item in seen.placement.items}.values())
    troubles = chunk_troubles(rows)
    if seen.placement.fitting:
        troubles.append("its chunks do not all have the wanted number of copies yet")
    coming = list(repair_coming(rows, seen.repair, seen.path))
    if seen.placement.fitting:
        coming.append("the goals of its chunks are being brought to that, step by step")
    steps = [
        Step(f"gfsctl admin placement show {pasted(seen.path)}", "every chunk and its servers")
    ]
    if any(row.blocked for row in rows):
        steps.append(Step("gfsctl admin chunks ls --blocked", "what each one waits for"))
    if troubles and coming:
        steps.append(Step("gfsctl admin repair status", "how far repair is"))
    if stuck_rows(rows, seen.repair):
        steps.append(Step(fewer(rows, seen.repair, seen.path), "as many copies as there can be"))
    if seen.leases:
        steps.append(
            Step(f"gfsctl admin leases show {pasted(seen.path)}", "who orders its appends")
        )
    if rows:
        first = format_id(rows[0].chunk_id)
        steps.append(Step(f"gfsctl admin placement explain {first}", "why it lies there"))
    return Explanation(
        about="file",
        name=seen.path,
        well=not troubles,
        verdict=_verdict(rows, troubles),
        facts=tuple(_facts(seen, rows)),
        rules=_rules(seen),
        troubles=tuple(troubles),
        coming=tuple(coming),
        next=tuple(steps),
    )


def explain_directory(path: str, status: FileStatus, policy: PolicyReport) -> Explanation:
    """Return what a directory is, and how new files below it are kept."""
    return Explanation(
        about="directory",
        name=path,
        well=True,
        verdict=f"holds {count_text(status.entry_count, 'name')}",
        facts=(("changed", time_text(status.mtime_ns)),),
        rules=(
            f"a new file gets {count_text(policy.goal, 'copy', 'copies')}"
            f" ({_from(policy.goal_from, path)}),"
            f" placement {policy.rule}: {RULE_TEXTS.get(policy.rule, 'as its masters have it')}"
            f" ({_from(policy.rule_from, path)}),"
            f" chunks of {size_text(policy.chunk_bytes)} ({_from(policy.chunk_bytes_from, path)})",
        ),
        next=(
            Step(f"gfsctl du -s {pasted(path)}", "how much lies below it"),
            Step(f"gfsctl admin fsck {pasted(path)}", "whether all of that is well"),
            Step(f"gfsctl policy get {pasted(path)}", "how new files are kept"),
        ),
    )


def _verdict(rows: Sequence[ChunkRow], troubles: Sequence[str]) -> str:
    if troubles:
        lost = any(row.state == "sealed" and not row.copies for row in rows)
        return "cannot be read in full now" if lost else "readable; not all is as it should be"
    return "all is well" if rows else "all is well; it has no bytes"


def _facts(seen: FileSeen, rows: Sequence[ChunkRow]) -> list[tuple[str, str]]:
    status = seen.status
    growing = ", growing: as reported last" if status.growing else ""
    facts = [
        ("size", f"{size_text(status.size)} ({status.size:,} bytes){growing}"),
        ("changed", f"{time_text(status.mtime_ns)} by {status.owner or 'nobody named'}"),
    ]
    if rows:
        copies = Counter(f"{row.copies} of {row.goal}" for row in rows)
        said = ", ".join(f"{count} with {text}" for text, count in sorted(copies.items()))
        facts.append(("chunks", f"{len(rows):,}: {said} copies on live servers"))
        facts.append(("where", _where(rows)))
    for lease in seen.leases:
        since = duration_text(lease.held_ms)
        facts.append(
            ("appends", f"ordered by {lease.holder} for {since}, in {format_id(lease.chunk_id)}")
        )
    return facts


def _where(rows: Sequence[ChunkRow]) -> str:
    counts = Counter((one.name, one.rack, one.health) for row in rows for one in row.replicas)
    named = [
        f"{name}/{rack}{f' {count}' if len(rows) > 1 else ''}{_ails(health)}"
        for (name, rack, health), count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    ]
    more = len(named) - _SERVERS_SHOWN
    others = f" and {count_text(more, 'server')} more" if more > 0 else ""
    return ", ".join(named[:_SERVERS_SHOWN]) + others


def _ails(health: str) -> str:
    return "" if health == "live" else f" ({health})"


def _rules(seen: FileSeen) -> tuple[str, ...]:
    goal = count_text(seen.placement.goal, "copy", "copies")
    where = _from(seen.policy.goal_from, seen.path)
    return (
        f"{goal} ({where}), placement {seen.placement.rule}"
        f" ({_from(seen.policy.rule_from, seen.path)})",
    )


def _from(path: str, own: str) -> str:
    """Return who says so."""
    if not path:
        return "as the cluster is set"
    return "its own" if path == own else f"by {path}"
