"""What operators ask of repair: how far it is, what waits and why, and how much it may take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import msgspec

from gfs_ha.errors import InvalidArgument
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import LIST_PAGE_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import answer_outcome
from gfs_ha.master.observed import LIVE
from gfs_ha.master.planners.plan import NO_CHUNK
from gfs_ha.master.planners.unplaced import unplaced_rows, ways_out
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.commands import SetRepairBudget
from gfs_ha.master.state.copies import USUAL_BUDGET, budget_report
from gfs_ha.master.state.records import DEAD, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.repair import (
    BackedOffRow,
    CopyRow,
    GetRepair,
    RepairFailure,
    RepairReport,
    SetBudget,
    WaitingReason,
    WaitingRow,
    held_by,
)

_BUSY_MAX = 8_192
_FIRST = 3  # Chunks that a reason names.
_REASONS_MAX = 20
_FIGURES = re.compile(r" \([^()]*\)")  # How long, how much: they change from look to look.


def get_repair(desk: Desk, view: View, request: GetRepair, slot: Slot) -> RepairReport:
    """Return what is being repaired, what waits, and how long it will take."""
    if not 1 <= request.limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a list has 1 to {LIST_PAGE_MAX} rows, not {request.limit}")
    report = repair_report(desk, view, request.limit)
    return msgspec.structs.replace(
        report, reasons=reasons_of(_waiting(view, desk.leading(), LIST_PAGE_MAX))
    )


def repair_report(desk: Desk, view: View, limit: int) -> RepairReport:
    """Return the state of repair, with at most so many rows in each list, and without reasons."""
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
    allowed = _allowed(reign)
    budget = msgspec.structs.replace(
        budget_report(view.repair_budget() or USUAL_BUDGET),
        backed_off=tuple(_backed_off(reign, names, now_s))[:limit],
    )
    hold = reign.hold or held_by(budget)
    return RepairReport(
        chunk_count=found.chunks,
        copy_count=found.copies,
        lacking_bytes=found.lacking_bytes,
        lost_count=found.without_copy,
        copying=tuple(copying[:limit]),
        waiting=tuple(_waiting(view, reign, limit)),
        failures=tuple(_failures(view, reign, names))[-limit:],
        deleting_count=sum(len(chunk.deleting) for _, chunk in busy),
        made_count=repairs.done_copies,
        bytes_per_s=repairs.bytes_per_s(now_s),
        eta_ms=-1 if hold and found.copies else _eta_ms(reign, allowed, now_s),
        hold=hold,
        budget=budget,
        misplaced_count=max(reign.placing.newest, reign.placing.misplaced),
        allowed_bytes_per_s=allowed,
        unplaced_count=found.unplaced_chunks,
        unplaced_copies=found.unplaced_copies,
        unplaced_bytes=found.unplaced_bytes,
        unplaced=unplaced_rows(reign.queue),
        ways=ways_out(reign.queue),
        below_count=reign.census.below,
    )


def _failures(view: View, reign: Reign, names: _Names) -> Iterator[RepairFailure]:
    """Return the newest failures of copies that are still wanted, of each chunk and server."""
    for (chunk_id, server_id), reason in list(reign.repairs.failures.items()):
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state == DEAD:
            continue
        if chunk.copying or len(chunk.holders) < chunk.goal:
            yield RepairFailure(chunk_id, names.of(server_id), reason)


def _allowed(reign: Reign) -> int:
    """Return what all copies may take together now; 0 when one of them has no limit."""
    rates = [one.copies_bytes_per_s for one in reign.allowances.values()]
    return 0 if 0 in rates else sum(rate for rate in rates if rate > 0)


def _eta_ms(reign: Reign, allowed: int, now_s: float) -> int:
    """Return how long it will take until all is whole; -1: it cannot be told (yet)."""
    found = reign.queue.newest
    if not found.copies:
        return 0
    if not reign.queue.rounds or found.copies == found.unplaced_copies:
        return -1
    heard = [one.heard_s for one in reign.observed.servers.values() if one.copies]
    news_age_s = now_s - sum(heard) / len(heard) if heard else 0.0
    lacking_bytes = found.lacking_bytes - found.unplaced_bytes
    eta_s = reign.repairs.eta_s(lacking_bytes, allowed, news_age_s, now_s)
    return -1 if eta_s is None else int(eta_s * 1000)


def _backed_off(reign: Reign, names: _Names, now_s: float) -> Iterator[BackedOffRow]:
    for server_id, found in reign.observed.servers.items():
        told = found.repair
        if told is None or not told.backing_off or reign.observed.state(server_id, now_s) != LIVE:
            continue
        counts = (told.slow_count, told.judged_count)
        yield BackedOffRow(names.of(server_id), told.server_bytes_per_s, *counts)


def set_budget(desk: Desk, request: SetBudget, slot: Slot) -> None:
    """Write down how much repair may take, and answer with all of it."""
    desk.leading()
    command = SetRepairBudget(
        request.cluster_bytes_per_s,
        request.server_bytes_per_s,
        request.copies_per_server,
        request.copies,
    )

    done = partial(answer_outcome, desk, slot)
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
    for chunk_id, wait in islice(reign.repairs.waits.items(), limit):
        chunk = view.chunk(chunk_id)
        if chunk is not None:
            rows.append(WaitingRow(chunk_id, chunk.goal, chunk.length, wait.why, wait.stuck))
    return rows


def reasons_of(waiting: Iterable[WaitingRow]) -> tuple[WaitingReason, ...]:
    """Return all that wait by why they do, the reasons of most chunks first."""
    alike: dict[tuple[str, bool], list[WaitingRow]] = {}
    for row in waiting:
        alike.setdefault((_FIGURES.sub("", row.reason), row.stuck), []).append(row)
    found = [
        WaitingReason(
            rows[-1].reason,  # The newest.
            len(rows),
            sum(row.length for row in rows),
            stuck,
            tuple(row.chunk_id for row in rows[:_FIRST]),
        )
        for (_, stuck), rows in alike.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.chunk_count)[:_REASONS_MAX])
