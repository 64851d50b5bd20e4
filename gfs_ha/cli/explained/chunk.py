"""A chunk explained: whose bytes it holds, how it is kept, what comes."""

from __future__ import annotations

from gfs_ha.cli.explained.explanation import Explanation
from gfs_ha.cli.explained.repairs import chunk_troubles, repair_coming, stuck_rows, ways_text
from gfs_ha.cli.runbooks import Step
from gfs_ha.cli.units import size_text
from gfs_ha.ids import format_id
from gfs_ha.protocol.damage import ChunkDetail
from gfs_ha.protocol.placement import PlacementExplained
from gfs_ha.protocol.repair import RepairReport

_STATES = {
    "open": "open: one writer appends to it",
    "sealing": "being sealed: its end is being proved",
    "sealed": "sealed: its bytes never change",
    "dead": "dead: no file needs it, its replicas are being deleted",
}


def explain_chunk(
    detail: ChunkDetail, placed: PlacementExplained | None, repair: RepairReport
) -> Explanation:
    """Return what a chunk is, where it lies and why, and what comes. `placed`: of a living one."""
    row = detail.row
    name = format_id(row.chunk_id)
    troubles = chunk_troubles([row])
    coming = list(repair_coming([row], repair))
    facts = [
        ("state", _STATES.get(row.state, row.state)),
        ("length", f"{size_text(row.length)} of at most {size_text(detail.capacity)}"),
        ("copies", f"{row.copies} of {row.goal} on live servers"),
        ("needed", "by a file" if detail.referenced else "by no file"),
    ]
    if detail.path:
        facts.append(("end of", detail.path))
    if detail.reason:
        facts.append(("sealed", f"by the leader: {detail.reason}"))
    rules: tuple[str, ...] = ()
    if placed is not None:
        rules = (f"{placed.rule}: {placed.rule_text}",)
        facts += [
            ("on" if not at else "", f"{one.name} ({one.rack}): {one.why}")
            for at, one in enumerate(placed.holders)
        ]
        if placed.misplaced and not troubles:
            troubles.append(placed.misplaced)
        coming += [_if_lost(one.lost, one.target, one.source, one.why) for one in placed.if_lost]
        path = next((one.path for one in repair.unplaced if one.chunk_id == row.chunk_id), "")
        if not stuck_rows([row], repair) and placed.way:
            coming.append(ways_text(placed, path))
    steps = [Step(f"gfsctl admin chunks show {name}", "each replica")]
    if placed is not None:
        steps.append(Step(f"gfsctl admin placement explain {name}", "who takes no copy, and why"))
    if row.state == "sealed":
        steps.append(Step(f"gfsctl admin chunks verify {name}", "read every copy from its disk"))
    if row.blocked:
        command = f"gfsctl admin chunks seal --accept-loss {name} -n"
        steps.append(Step(command, "what would be lost if they never come back"))
    return Explanation(
        about="chunk",
        name=name,
        well=not troubles,
        verdict="all is well" if not troubles else "not as it should be",
        facts=tuple(facts),
        rules=rules,
        troubles=tuple(troubles),
        coming=tuple(coming),
        next=tuple(steps),
    )


def _if_lost(lost: str, target: str, source: str, why: str) -> str:
    if not target:
        return f"if {lost} dies: {why}"
    return f"if {lost} dies: {target} gets the copy from {source or 'whoever has it'}"
