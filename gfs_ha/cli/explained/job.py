"""A job explained: what it does, why, how far it is, what is in its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gfs_ha.cli.blockers import alike
from gfs_ha.cli.explained.explanation import Explanation, eta_text
from gfs_ha.cli.runbooks import Step
from gfs_ha.cli.units import count_text, share_text, size_text, time_text
from gfs_ha.ids import format_id
from gfs_ha.protocol import jobs
from gfs_ha.protocol.jobs import JobEvent, JobRow

_WHAT = {
    jobs.REBALANCE: "moves copies from fuller servers to emptier ones, by bytes",
    jobs.DRAIN: "moves every copy off {server}, which stays a member and takes nothing new",
    jobs.DECOMMISSION: "moves every copy off {server}, which then leaves for good",
    jobs.DISK_DRAIN: "moves every copy off disk {disk} of {server}",
}
_RULES = {
    jobs.REBALANCE: "no server is lifted above its high-water mark at any moment, and no copy goes"
    " where the rule of placement would be broken",
    jobs.DRAIN: "a copy goes only when another one counts; done is said when nothing is left there",
}
_EVENTS_SHOWN = 3
_BLOCKERS_SHOWN = 5


def explain_job(row: JobRow, log: Sequence[JobEvent]) -> Explanation:
    """Return what a job does and how far it is."""
    ended = row.phase in jobs.FINAL
    left = f", {size_text(row.left_bytes)} to go" if row.left_bytes > 0 and not ended else ""
    facts = [
        ("does", _WHAT[row.kind].format(server=row.server, disk=format_id(row.disk_id))),
        ("asked by", f"{row.asked_by or 'nobody named'} at {time_text(row.made_ns)}"),
        (
            "moved",
            f"{size_text(row.moved_bytes)} in {count_text(row.moves, 'move')}"
            f" of {size_text(row.planned_bytes)} planned, {share_text(row.share)}{left}",
        ),
    ]
    if ended:
        facts.append(("ended", time_text(row.ended_ns)))
    facts += [
        ("lately" if not at else "", f"{time_text(one.wall_ns)}  {one.text}")
        for at, one in enumerate(log[-_EVENTS_SHOWN:])
    ]
    troubles = []
    if row.waits and not ended:
        troubles.append(f"nothing of it is under way: {row.waits}")
    if jobs.standing_error(row):
        troubles.append(f"newest error, at {time_text(row.last_error_ns)}: {row.last_error}")
    troubles += _blocked(row)
    return Explanation(
        about="job",
        name=row.id,
        well=row.phase in (jobs.RUNNING, jobs.DONE) and not row.blocked,
        verdict=f"{row.kind}, {row.phase}",
        facts=tuple(facts),
        rules=(_RULES.get(row.kind, _RULES[jobs.DRAIN]),),
        troubles=tuple(troubles),
        coming=_coming(row),
        next=tuple(_steps(row)),
    )


def _blocked(row: JobRow) -> Iterator[str]:
    """Yield what is in the way, once for all chunks of a file that it holds, and the ways out."""
    told = 0
    least = "at least " * (row.blocked > len(row.blockers))  # Only the first are known by name.
    for group in alike(row.blockers)[:_BLOCKERS_SHOWN]:
        count = len(group.chunk_ids)
        told += count
        out = "; ways out: " + ", or ".join(group.ways) if group.ways else ""
        more = f" and {least}{count - 1} more" if count > 1 else ""
        first = f"chunk {format_id(group.chunk_ids[0])}{more}{group.whose}"
        yield f"{first} cannot be moved: {group.why}{out}"
    if row.blocked > told:
        yield f"{count_text(row.blocked, 'chunk')} in all cannot be moved"


def _coming(row: JobRow) -> tuple[str, ...]:
    if row.phase == jobs.RUNNING and row.blocked:
        return ("it ends by itself once what is blocked can go",)
    if row.phase == jobs.RUNNING and row.waits:
        return (f"it goes on by itself; now it waits: {row.waits}",)
    if row.phase == jobs.RUNNING:
        rate = f" at {size_text(row.bytes_per_s)}/s" if row.bytes_per_s else ""
        window = f"; new moves begin only {row.options.window}" if row.options.window else ""
        return (f"it is done {eta_text(row.eta_ms)}{rate}{window}",)
    if row.phase == jobs.PAUSED:
        return ("nothing, until somebody resumes or cancels it",)
    return ()


def _steps(row: JobRow) -> list[Step]:
    steps = [Step(f"gfsctl admin jobs show {row.id} -w", "watch it")]
    if row.phase in jobs.FINAL:
        steps = [Step(f"gfsctl admin jobs show {row.id}", "its limits and how it ended")]
    if row.phase == jobs.RUNNING:
        steps.append(Step(f"gfsctl admin jobs pause {row.id}", "begin nothing more for now"))
    if row.phase == jobs.PAUSED:
        steps.append(Step(f"gfsctl admin jobs resume {row.id}", "go on"))
    if row.phase not in jobs.FINAL:
        steps.append(Step(f"gfsctl admin jobs cancel {row.id}", "end it; what was moved stays"))
    steps.append(Step(f"gfsctl admin jobs logs {row.id}", "all that happened to it"))
    return steps
