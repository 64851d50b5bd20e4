"""What is said of garbage that waits: the true reason, on which server, and for how long still."""

from __future__ import annotations

from test_compaction_plans import House

from gfs_ha.ids import ChunkId, Epoch, ServerId, StartId
from gfs_ha.limits import BLOCK_BYTES, COMPACTION_RANGES_MAX, MIB
from gfs_ha.master.garbage_book import GarbageBook
from gfs_ha.master.garbage_count import SCATTERED, GarbageCount
from gfs_ha.master.garbage_health import garbage_findings
from gfs_ha.master.handlers.gc import _eta_ms
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.reign import Reign
from gfs_ha.protocol.control import RegisterServer
from gfs_ha.protocol.garbage import GarbageRow, GarbageServerRow
from gfs_ha.protocol.metadata import Extent, FinishChunk, ReleaseChunks

NOW_S = 1000.0


def reign_over(house: House, live: tuple[int, ...] = (1, 2, 3, 4)) -> Reign:
    reign = Reign(Epoch(1, 1), 0.0)
    reign.garbage.walk = house.cursors.dead_blocks
    for number in live:
        name, start = f"cs{number}", StartId(number)
        request = RegisterServer(name, ServerId(number), "h", 1, "r", "m", start, 1, ())
        reign.observed.registered(ServerId(number), request, NOW_S)
    return reign


def reasons(house: House, reign: Reign) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with house.tables.view() as view:
        for row in GarbageCount(view, reign, NOW_S).rows():
            found.setdefault(row.kind, set()).add(row.why)
    return found


def scattered_chunk(house: House, parts: int) -> ChunkId:
    """Make a chunk of 1 MiB of which single bytes live, so many."""
    length = MIB
    chunk_id: ChunkId = house.tables.chunk(house.session, (1, 2, 3)).chunk_id
    house.tables.do(FinishChunk(chunk_id, length, 5, (1, 2, 3)), house.session)
    step = length // parts
    for part in range(parts):
        house.publish(f"/s{chunk_id}-{part}", (Extent(0, chunk_id, part * step, 1, 7),), 1)
    house.tables.do(ReleaseChunks((chunk_id,)), house.session)
    return chunk_id


def test_a_chunk_that_lives_in_too_many_places_is_not_told_to_wait_for_its_turn() -> None:
    house = House(count=0)
    scattered_chunk(house, COMPACTION_RANGES_MAX + 1)
    house.look()
    assert reasons(house, reign_over(house))["sparse"] == {SCATTERED}
    assert house.compact().empty, "and it is true"


def test_a_sparse_chunk_waits_for_what_keeps_it_from_its_turn() -> None:
    house = House(count=1)
    reign = reign_over(house)
    assert reasons(house, reign)["sparse"] == {"it waits for its turn: one on each server"}
    reign.hold = "most servers are dead"
    assert "most servers are dead" in next(iter(reasons(house, reign)["sparse"]))
    reign.hold = ""
    reign.queue.found.copies, reign.queue.rounds = 3, 1
    assert reasons(house, reign)["sparse"] == {"after repair, which has copies to make"}
    house.lose(house.sparse[0], 3)
    assert reasons(house, reign)["sparse"] == {"it has fewer copies than wanted: repair goes first"}


def test_what_a_dead_server_holds_is_told_with_its_name_and_what_to_do() -> None:
    house = House(count=2)
    for chunk_id in house.sparse:
        for piece in range(16):
            house.remove(f"/f{house.sparse.index(chunk_id)}-{piece}")
    for _ in range(20):
        house.reap()
    with house.tables.view() as view:
        assert len(view.dead_chunks(ChunkId(0), 10)) == 2
        everybody = GarbageCount(view, reign_over(house), NOW_S)
        assert everybody.held() == [] and len(everybody.servers()) == 3
        count = GarbageCount(view, reign_over(house, (1, 2, 4)), NOW_S)
        [held] = count.held()
        shown = {one.server_id: one.state for one in count.servers()}
    assert (held.server_id, held.state, held.count, held.bytes) == (3, DEAD, 2, 2 * MIB)
    assert shown == {1: LIVE, 2: LIVE, 3: DEAD}
    [finding] = garbage_findings([held], more=False)
    assert finding.code == "GARBAGE_HELD" and f"{held.name} (2.0 MiB in 2" in finding.message
    assert "start them" in finding.advice
    assert garbage_findings([], more=True) == []
    many = [GarbageServerRow(ServerId(n), f"cs{n}", DEAD, 1, 1) for n in range(20)]
    [finding] = garbage_findings(many, more=True)
    assert "at least" in finding.message and "and 12 others" in finding.message


def test_the_time_to_go_counts_what_waits_for_nothing_else() -> None:
    assert _eta_ms([], 0) == 0
    waits = GarbageRow("dead", 3, 900, "cs3 is dead", now=False)
    due = GarbageRow("dead", 3, 500, "ordered", now=True)
    assert _eta_ms([waits], 100) == 0
    assert _eta_ms([waits, due], 100) == 5000
    assert _eta_ms([due], 0) == -1
    assert _eta_ms([GarbageRow("punching", 1, -1, "ordered", now=True)], 100) == -1


def test_the_rate_is_that_of_the_time_since_it_began() -> None:
    book = GarbageBook()
    for second in range(10):
        answered = (ChunkId(second + 1), ServerId(1), second)
        book.deleted(answered, BLOCK_BYTES, NOW_S + second)  # type: ignore[arg-type]
    assert book.bytes_per_s(NOW_S + 10) == BLOCK_BYTES
    assert book.bytes_per_s(NOW_S + 100) == 0
