"""Where new chunks go: the rule, what keeps a server out, and what is said when it cannot hold."""

from __future__ import annotations

from collections import Counter

import pytest

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.placement import Candidate, Wanted, place


def server(number: int, rack: str = "r1", **changes: object) -> Candidate:
    fields: dict[str, object] = {
        "server_id": number,
        "disk_id": 100 + number,
        "name": f"cs{number}",
        "rack": rack,
        "machine": f"h{number}",
        "used_share": 0.5,
        "free_bytes": 50 * GIB,
        "total_bytes": 100 * GIB,
    }
    return Candidate(**{**fields, **changes})  # type: ignore[arg-type]


def wanted(**changes: object) -> Wanted:
    fields: dict[str, object] = {
        "goal": 3,
        "min_copies": 2,
        "capacity": 64 * MIB,
        "machine": "",
        "rack": "",
        "failed": frozenset(),
        "spread": 1,
    }
    return Wanted(**{**fields, **changes})  # type: ignore[arg-type]


def ids(servers: list[Candidate], request: Wanted) -> list[int]:
    return [server_id for server_id, _ in place(servers, request).replicas]


SIX = [server(n, f"r{(n + 1) // 2}") for n in range(1, 7)]  # r1: 1 2, r2: 3 4, r3: 5 6.


def test_one_near_the_writer_one_in_its_rack_the_rest_elsewhere() -> None:
    for spread in range(50):
        chosen = ids(SIX, wanted(machine="h3", spread=spread))
        assert chosen[:2] == [3, 4]
        assert chosen[2] in (1, 2, 5, 6)
        assert not place(SIX, wanted(machine="h3", spread=spread)).remarks


def test_a_writer_without_a_server_on_its_machine_gets_one_of_its_rack() -> None:
    for spread in range(50):
        assert ids(SIX, wanted(machine="laptop", rack="r3", spread=spread))[0] in (5, 6)


def test_a_machine_that_all_servers_share_says_nothing() -> None:
    servers = [server(n, f"r{n % 2}", machine="one") for n in range(1, 5)]
    heads = {ids(servers, wanted(machine="one", spread=spread))[0] for spread in range(50)}
    assert heads == {1, 2, 3, 4}


def test_further_copies_prefer_racks_that_have_none() -> None:
    chosen = ids(SIX, wanted(goal=4, machine="h1"))
    assert chosen[:2] == [1, 2]
    assert sorted((number + 1) // 2 for number in chosen[2:]) == [2, 3]


def test_the_least_used_server_is_chosen_first() -> None:
    servers = [server(1), server(2, used_share=0.3), server(3, "r2"), server(4, used_share=0.4)]
    assert ids(servers, wanted()) == [2, 4, 3]


def test_promised_bytes_count_as_used_for_the_balance() -> None:
    servers = [server(1, pending_bytes=10 * GIB), server(2), server(3, "r2")]
    assert {ids(servers, wanted(spread=spread))[0] for spread in range(40)} == {2, 3}


def test_servers_of_about_the_same_load_share_the_work() -> None:
    heads = Counter(ids(SIX, wanted(spread=spread * 7919))[0] for spread in range(600))
    assert len(heads) == 6
    assert min(heads.values()) > 30


def test_two_copies_go_to_two_machines_where_there_are_two() -> None:
    servers = [
        server(1, machine="a"),
        server(2, machine="a", used_share=0.1),
        server(3, machine="b"),
    ]
    for spread in range(20):
        first, second = ids(servers, wanted(goal=2, spread=spread))
        assert {first, second} != {1, 2}


def test_a_missing_rack_is_said_and_does_not_stop_the_write() -> None:
    chosen = place([server(n) for n in range(1, 5)], wanted())
    assert len(chosen.replicas) == 3
    assert chosen.remarks == ("no rack beside r1 has a server for a copy",)


def test_a_rack_with_one_server_is_said() -> None:
    chosen = place([server(1), server(2, "r2"), server(3, "r3")], wanted(rack="r1"))
    assert chosen.remarks == ("rack r1 has no second server for a copy",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trouble": "is suspect"}, "cs4 is suspect"),
        ({"used_share": 0.96}, "cs4 is above the high-water mark (96 %)"),
        ({"free_bytes": MIB}, "cs4 has no room"),
    ],
)
def test_a_server_that_cannot_take_it_is_left_out_and_named(
    changes: dict[str, object], reason: str
) -> None:
    servers = [server(1), server(2), server(4, "r2", **changes)]
    chosen = place(servers, wanted())
    assert sorted(chosen.replicas) == [(1, 101), (2, 102)]
    assert "2 of 3 copies" in chosen.remarks[-1] and reason in chosen.remarks[-1]


def test_a_server_that_the_client_saw_failing_is_left_out() -> None:
    assert 3 not in ids(SIX, wanted(machine="h3", failed=frozenset((3,))))


def test_too_few_servers_are_refused_with_the_reason_for_each() -> None:
    servers = [server(1), server(2, trouble="is dead"), server(3)]
    with pytest.raises(NoServers) as caught:
        place(servers, wanted(failed=frozenset((3,))))
    assert "1 of 3 chunkservers can take a chunk, 2 needed" in caught.value.message
    assert "cs2 is dead" in caught.value.message
    assert "cs3 was seen failing by the client" in caught.value.message


def test_full_disks_are_no_space_unless_a_server_may_come_back() -> None:
    servers = [server(1, used_share=0.97), server(2, free_bytes=MIB), server(3)]
    with pytest.raises(NoSpace, match="cs1 is above the high-water mark"):
        place(servers, wanted())
    with pytest.raises(NoServers, match="cs4 is dead"):
        place([*servers, server(4, trouble="is dead")], wanted())


def test_a_goal_of_one_needs_one() -> None:
    assert len(ids([server(1)], wanted(goal=1))) == 1


def test_no_server_at_all_is_said() -> None:
    with pytest.raises(NoServers, match="no chunkserver is registered"):
        place([], wanted())


def test_a_refusal_names_only_some_of_very_many_servers() -> None:
    servers = [server(n, trouble="is dead") for n in range(1, 3000)]
    with pytest.raises(NoServers) as caught:
        place(servers, wanted())
    assert len(caught.value.message) < 500
    assert "and 2991 more" in caught.value.message
