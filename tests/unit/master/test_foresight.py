"""What would become of chunks if servers were lost or came; and why they lie where they do."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from repair_house import House
from test_placement import SIX, server, wanted
from test_placement_rules import PLACES, fleet

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import GIB, MIB, PLACEMENT_RULES
from gfs_ha.master.explanation import explain, explain_new
from gfs_ha.master.foresight import Change, KnownChunk, foresee
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.planners.scene import Scene
from gfs_ha.protocol.placement import PlacementExplained
from gfs_ha.protocol.reports import ChunkRow


def chunks(*holders: tuple[int, ...], **changes: object) -> list[KnownChunk]:
    usual: dict[str, object] = {"length": 64 * MIB, "goal": 3, "rule": "seed"}
    return [
        KnownChunk(ChunkId(number), holders=found, **{**usual, **changes})  # type: ignore[arg-type]
        for number, found in enumerate(holders, 1)
    ]


def lose(*servers: int) -> Change:
    return Change(lost=frozenset(ServerId(one) for one in servers))


def test_each_lost_copy_is_made_once_where_there_is_room() -> None:
    seen = foresee(SIX, chunks((1, 2, 3), (3, 4, 5), (5, 6, 1)), lose(1))
    assert (seen.chunk_count, seen.copy_count, seen.copy_bytes) == (3, 2, 128 * MIB)
    assert (seen.moved_count, seen.below_goal, seen.lost_count) == (0, 0, 0)
    assert sum(row.bytes_in for row in seen.items) == 128 * MIB
    (row,) = [row for row in seen.items if row.name == "cs1"]
    assert row.fate == "lost" and not row.bytes_in


def test_what_cannot_be_made_good_is_told_with_the_reason() -> None:
    seen = foresee(SIX, chunks((1, 2, 3), (1,), goal=3), lose(1, 5, 6))
    assert (seen.lost_count, seen.lost_bytes) == (1, 64 * MIB)
    assert seen.copy_count == 1 and seen.below_goal == 0
    seen = foresee(SIX, chunks((1, 2, 3)), lose(3, 4, 5, 6))
    assert seen.below_goal == 1 and "cs4 is lost" in seen.reasons[0]


def test_servers_that_come_get_what_the_rule_wants_there_and_no_more() -> None:
    servers = [server(number) for number in range(1, 4)]
    change = Change(added=(server(7, "r9"), server(8, "r9")))
    seen = foresee(servers, chunks((1, 2, 3), (2, 3, 1)), change)
    assert (seen.moved_count, seen.moved_bytes, seen.against_rule) == (2, 128 * MIB, 0)
    assert sum(row.bytes_out for row in seen.items if row.rack == "r1") == 128 * MIB
    assert {row.fate for row in seen.items if row.rack == "r9"} == {"added"}
    seen = foresee(servers, chunks((1, 2, 3)), Change())
    assert seen.against_rule == 1 and seen.moved_count == 0


def test_copies_fill_their_servers_and_none_goes_above_the_mark() -> None:
    servers = [
        *(server(number, f"r{number}", used_share=0.5) for number in (1, 2)),
        server(3, "r3", used_share=0.94, free_bytes=6 * GIB, total_bytes=100 * GIB),
    ]
    many = chunks(*[(1, 2)] * 40, length=64 * MIB)
    seen = foresee(servers, many, Change())
    (row,) = [row for row in seen.items if row.name == "cs3"]
    assert row.used_after < HIGH_WATER + 0.001
    assert seen.copy_count == 16 and seen.below_goal == 24
    assert "above the high-water mark" in seen.reasons[0]


def test_new_chunks_are_placed_until_there_is_no_room() -> None:
    tiny = [replace(one, used_share=0.5, free_bytes=20 * MIB, total_bytes=40 * MIB) for one in SIX]
    new = wanted(capacity=2 * MIB)
    seen = foresee(tiny, (), Change(new=new, new_count=30))
    assert seen.new_count + seen.refused_count == 30 and seen.refused_count
    assert all(row.used_after <= 1.0 for row in seen.items) and seen.reasons
    again = foresee(tiny, (), Change(new=new, new_count=30))
    assert again == seen, "equal input, equal answer"


def test_very_many_new_chunks_are_placed_in_groups_that_hold_as_much() -> None:
    vast = [replace(one, free_bytes=900 << 40, total_bytes=1000 << 40) for one in SIX]
    seen = foresee(vast, (), Change(new=wanted(capacity=64 * MIB), new_count=1_000_001))
    assert (seen.new_count, seen.refused_count) == (1_000_001, 0)
    assert sum(row.bytes_in for row in seen.items) == 3 * 64 * MIB * 1_000_001


def explained(house: House, chunk_id: int) -> PlacementExplained:
    row = house.row(chunk_id)
    shown = ChunkRow(ChunkId(chunk_id), row.state, row.length, row.goal, 3, "disk", "put", 0, ())
    with house.tables.view() as view:
        return explain(Scene(view, house.seen()), ChunkId(chunk_id), row, shown)


RACKS = {number: f"r{(number + 1) // 2}" for number in range(1, 9)}


def test_where_nobody_can_take_a_copy_an_explanation_names_the_ways_out() -> None:
    house = House(4)
    told = explained(house, house.chunk((1, 2, 3), goal=3))
    assert (told.way, told.possible) == ("", 0), "there is a fourth one"
    told = explained(house, house.chunk((1, 2, 3, 4), goal=4))
    assert all(
        row.why == "nobody can take its copy: 3 others have one already" for row in told.if_lost
    )
    assert (told.way, told.possible) == ("add a server", 3)
    house.dead = {4}
    told = explained(house, house.chunk((1, 2, 3), goal=5))
    assert (told.way, told.possible) == ("add a server, or bring back cs4", 3)


def test_an_explanation_names_every_server_once_and_who_comes_next() -> None:
    house = House(8, racks=RACKS, machines={5: "h1"}, full={4}, suspect={8})
    chunk_id = house.chunk((1, 2, 3))
    told = explained(house, chunk_id)
    assert [(row.name, row.why) for row in told.holders] == [
        ("cs1", "head of the chain"),
        ("cs2", "same rack"),
        ("cs3", "other rack"),
    ]
    rejected = {row.name: row.why for row in told.rejected}
    assert rejected == {
        "cs4": "is above the high-water mark (99 %)",
        "cs5": "is on the machine of cs1",
        "cs8": "is suspect (no heartbeat for 7 s)",
    }
    assert {row.name for row in told.open_to} == {"cs6", "cs7"}
    assert not told.misplaced
    by_lost = {row.lost: row for row in told.if_lost}
    assert by_lost["cs1"].target in ("cs5", "cs6", "cs7"), "no copy is on the machine of cs5 then"
    assert by_lost["cs2"].target in ("cs6", "cs7") and by_lost["cs2"].source in ("cs1", "cs3")


def test_what_comes_next_is_what_the_planners_then_do() -> None:
    house = House(8, racks=RACKS)
    chunk_id = house.chunk((1, 2, 3))
    expected = {row.lost: row.target for row in explained(house, chunk_id).if_lost}
    house.dead = {2}
    house.rest()
    (new,) = house.good(chunk_id) - {1, 3}
    assert expected["cs2"] == f"cs{new}"


def test_a_chunk_that_lies_against_its_rule_is_told_with_what_will_be_done() -> None:
    house = House(4, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2"}, full={4})
    chunk_id = house.chunk((1, 2, 3))
    assert "no server that can take one would change that" in explained(house, chunk_id).misplaced
    house.full = set()
    assert "cs4 (r2) gets one, then that of cs" in explained(house, chunk_id).misplaced
    house.dead = {1, 2}
    told = explained(house, chunk_id)
    assert told.misplaced == "2 of 3 copies are lacking"
    assert {row.why for row in told.if_lost if row.lost == "cs3"} == {"no good copy would be left"}
    assert {row.why for row in told.if_lost if row.lost == "cs1"} == {"its copy does not count now"}
    assert [row.why for row in told.holders] == [
        "head of the chain; it is dead (no heartbeat for 7 s)",
        "same rack; it is dead (no heartbeat for 7 s)",
        "same rack",
    ]


def test_an_open_chunk_is_explained_without_what_comes_next() -> None:
    house = House(4)
    chunk_id = house.tables.chunk(house.session).chunk_id
    told = explained(house, chunk_id)
    assert house.row(chunk_id).state == "open"
    assert len(told.holders) == 3 and not told.if_lost and not told.misplaced


def test_a_new_placement_tells_why_each_server_was_chosen_or_not() -> None:
    servers = [
        *SIX[:2],
        server(3, "r2", used_share=0.7),
        server(4, "r2"),
        server(5, "r2", machine="h1"),
        server(6, "r2", used_share=0.96),
        server(7, "r2", trouble="is suspect"),
        server(8, "r1", used_share=0.1),
    ]
    told = explain_new(servers, wanted(machine="h1", rack="r1"), "/new")
    assert [(row.name, row.why) for row in told.chosen] == [
        ("cs1", "on the writer's machine"),
        ("cs8", "same rack"),
        ("cs4", "other rack"),
    ]
    assert {row.name: row.why for row in told.rejected} == {
        "cs2": "same rack as cs1",
        "cs3": "is more used (70 %)",
        "cs5": "same machine as cs1",
        "cs6": "is above the high-water mark (96 %)",
        "cs7": "is suspect",
    }
    assert not told.refused and not told.remarks


def test_a_new_placement_that_is_refused_tells_the_reason_of_every_server() -> None:
    servers = [server(1), server(2, trouble="is dead"), server(3, "r2", free_bytes=1)]
    told = explain_new(servers, wanted(), "/new")
    assert not told.chosen and "1 of 3 chunkservers can take a chunk" in told.refused
    assert [row.why for row in told.rejected] == [
        "could take it",
        "is dead",
        "has no room (1 bytes free)",
    ]


@given(PLACES, st.integers(1, 4), st.sampled_from(PLACEMENT_RULES))
def test_every_server_is_told_once_with_a_reason(
    places: list[tuple[int, int, float, str]], goal: int, rule: str
) -> None:
    servers = fleet(places)
    told = explain_new(servers, wanted(goal=goal, rule=rule), "/new")
    named = [row.name for row in (*told.chosen, *told.rejected)]
    assert sorted(named) == sorted(one.name for one in servers)
    assert all(row.why for row in (*told.chosen, *told.rejected))
    assert bool(told.chosen) != bool(told.refused)
