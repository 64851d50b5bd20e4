"""What operators ask of repair: how far it is, what waits and why, and how much it may take."""

from __future__ import annotations

from gfs_ha.errors import InvalidArgument
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import LIST_PAGE_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.planners.plan import NO_CHUNK
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.commands import SetRepairBudget
from gfs_ha.master.state.copies import USUAL_BUDGET, budget_report
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.repair import (
    CopyRow,
    GetRepair,
    RepairFailure,
    RepairReport,
    SetBudget,
    WaitingRow,
    held_by,
)

_BUSY_MAX = 8_192


def get_repair(desk: Desk, view: View, request: GetRepair, slot: Slot) -> RepairReport:
    """Return what is being repaired, what waits, and how long it will take."""
    if not 1 <= request.limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a list has 1 to {LIST_PAGE_MAX} rows, not {request.limit}")
    return repair_report(desk, view, request.limit)


def repair_report(desk: Desk, view: View, limit: int) -> RepairReport:
    """Return the state of repair, with at most so many rows in each list."""
    reign = desk.leading()
    now_s = desk.now_s()
    repairs, found = reign.repairs, reign.queue.newest
    busy = view.busy_chunks(NO_CHUNK, _BUSY_MAX)
    names = _Names(view)
    copying = [
        _copy_row(reign, names, chunk_id, chunk, order.server_id)
        for chunk_id, chunk in busy
        for order in chunk.copying
    ]
    rate = repairs.bytes_per_s(now_s)
    budget = budget_report(view.repair_budget() or USUAL_BUDGET)
    left = max(0, found.lacking_bytes - sum(row.bytes_done for row in copying))
    return RepairReport(
        chunk_count=found.chunks,
        copy_count=found.copies,
        lacking_bytes=found.lacking_bytes,
        lost_count=found.without_copy,
        copying=tuple(copying[:limit]),
        waiting=tuple(_waiting(view, reign, limit)),
        failures=tuple(
            RepairFailure(chunk_id, names.of(server_id), reason)
            for (chunk_id, server_id), reason in list(repairs.failures.items())[-limit:]
        ),
        deleting_count=sum(len(chunk.deleting) for _, chunk in busy),
        made_count=repairs.done_copies,
        bytes_per_s=rate,
        eta_ms=0 if not found.copies else int(left / rate * 1000) if rate else -1,
        hold=reign.hold or held_by(budget),
        budget=budget,
        misplaced_count=max(reign.placing.newest, reign.placing.misplaced),
    )


def set_budget(desk: Desk, request: SetBudget, slot: Slot) -> None:
    """Write down how much repair may take, and answer with all of it."""
    desk.leading()
    command = SetRepairBudget(
        request.cluster_bytes_per_s,
        request.server_bytes_per_s,
        request.copies_per_server,
        request.copies,
    )

    def done(outcome: Outcome) -> None:
        if outcome.error is not None or outcome.result is None:
            assert outcome.error is not None, "an outcome without result or error"
            slot.fail(desk.proposer.for_client(outcome.error))
            return
        slot.reply_encoded(outcome.result)

    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


class _Names:
    """The names of servers, each read once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._names: dict[ServerId, str] = {}

    def of(self, server_id: ServerId) -> str:
        if server_id not in self._names:
            server = self._view.server(server_id)
            self._names[server_id] = server.name if server else f"#{server_id}"
        return self._names[server_id]


def _copy_row(
    reign: Reign, names: _Names, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId
) -> CopyRow:
    facts = reign.observed.servers.get(server_id)
    told = next((one for one in facts.copies if one.chunk_id == chunk_id), None) if facts else None
    done = told.bytes_done if told is not None else 0
    return CopyRow(chunk_id, names.of(server_id), done, chunk.length, told is not None)


def _waiting(view: View, reign: Reign, limit: int) -> list[WaitingRow]:
    rows = []
    for chunk_id, reason in list(reign.repairs.waits.items())[:limit]:
        chunk = view.chunk(chunk_id)
        if chunk is not None:
            rows.append(WaitingRow(chunk_id, chunk.goal, chunk.length, reason))
    return rows
