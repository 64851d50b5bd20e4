"""Soft facts: ages count from the election, starts are told apart, everything is bounded."""

from __future__ import annotations

from gfs_ha.ids import Epoch
from gfs_ha.limits import MIB, TAILS_PER_SERVER_MAX
from gfs_ha.master import observed
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT, Observed
from gfs_ha.protocol.control import (
    DamageFound,
    DiskFacts,
    Heartbeat,
    LedTail,
    OpenReplica,
    RegisterServer,
)
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.usage import UsageFacts


def start(start_id: int = 5) -> RegisterServer:
    return RegisterServer("cs1", 1, "h", 7301, "r1", "m", start_id, 9, ())


def beat(number: int = 1, start_id: int = 5, **changes: object) -> Heartbeat:
    fields: dict[str, object] = {
        "server_id": 1,
        "start_id": start_id,
        "beat": number,
        "epoch": Epoch(1, 1),
        "disk_usage": 0.25,
        "chunk_count": number,
        "timestamp": 1000,
        "disks": (),
    }
    return Heartbeat(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_server_is_suspect_after_three_seconds_and_dead_after_thirty() -> None:
    seen = Observed(elected_s=100.0)
    seen.registered(1, start(), 200.0)
    assert [seen.state(1, 200.0 + age) for age in (0, 2.9, 3, 29, 30)] == [
        LIVE,
        LIVE,
        SUSPECT,
        SUSPECT,
        DEAD,
    ]


def test_a_new_leader_counts_the_age_of_a_server_from_its_election() -> None:
    seen = Observed(elected_s=100.0)
    assert seen.state(7, 102.0) == LIVE
    assert not seen.present(7, 102.0)
    assert seen.state(7, 104.0) == SUSPECT
    assert seen.state(7, 131.0) == DEAD


def test_why_a_server_is_suspect_or_dead_is_told_with_what_follows() -> None:
    seen = Observed(elected_s=100.0)
    seen.registered(1, start(), 200.0)
    assert seen.reason(1, 202.0) == ""
    suspect = "no heartbeat for 5 s: it gets no new chunks; after 30 s it counts as dead"
    assert seen.reason(1, 205.0) == suspect
    dead = "no heartbeat for 41 s, over 30 s: its copies are made anew elsewhere"
    assert seen.reason(1, 241.0) == dead
    assert seen.reason(1, 241.0, paused=True) == f"{dead} once its maintenance ends"
    empty = "no heartbeat for 41 s, over 30 s: nothing lies there"
    assert seen.reason(1, 241.0, empty=True) == empty
    assert seen.reason(7, 104.0).startswith("not heard since this leader was elected 4 s ago:")
    broken = tuple(DiskFacts(disk_id, 0, 0, 0, failed="read error") for disk_id in (1, 2))
    seen.heard(beat(1, disks=(broken[0], DiskFacts(2, 1, 1, 0))), 250.0, 0)
    assert seen.reason(1, 255.0) == suspect
    seen.heard(beat(2, disks=broken), 250.0, 0)
    assert seen.reason(1, 255.0) == f"it ended when its last disk failed, {suspect}"


def test_a_young_leader_gathers_its_servers_before_it_makes_do_with_fewer() -> None:
    seen = Observed(elected_s=100.0)
    seen.registered(1, start(), 100.1)
    assert seen.gathering([1, 2], 100.2)
    assert not seen.gathering([1], 100.2)
    assert not seen.gathering([1, 2], 100.0 + observed.GATHER_S)


def test_a_heartbeat_of_another_start_is_not_taken() -> None:
    seen = Observed(0.0)
    assert not seen.heard(beat(), 1.0, 0)
    seen.registered(1, start(), 1.0)
    assert seen.heard(beat(), 2.0, 900)
    assert seen.servers[1].clock_ahead_ms == 100
    assert not seen.heard(beat(start_id=6), 3.0, 0)


def test_a_heartbeat_that_was_overtaken_proves_life_and_tells_nothing() -> None:
    seen = Observed(0.0)
    seen.registered(1, start(), 1.0)
    assert seen.heard(beat(4), 2.0, 0)
    assert seen.heard(beat(3), 9.0, 0)
    assert seen.servers[1].chunk_count == 4
    assert seen.age_s(1, 9.5) == 0.5


def test_a_new_start_forgets_what_the_old_one_told() -> None:
    seen = Observed(0.0)
    seen.registered(1, start(), 1.0)
    seen.heard(beat(4), 2.0, 0)
    seen.registered(1, start(6), 3.0)
    assert seen.servers[1].chunk_count == 0
    assert seen.heard(beat(1, start_id=6), 4.0, 0)


def test_of_a_server_that_was_removed_nothing_is_kept() -> None:
    seen = Observed(0.0)
    seen.registered(1, start(), 1.0)
    told = LoadFacts(queue=3)
    for number in range(1, 4):
        seen.heard(beat(number, load=told, usage=UsageFacts()), float(number), 0)
    seen.damaged(1, DamageFound(7, 101, 0))
    seen.forget(1)
    assert seen.loads.rates(1, 3.5) is None and not seen.loads._told
    assert not (seen.servers or seen.usage._told or seen.damage or seen._listed)


def test_silence_of_a_session_counts_from_its_last_request_or_the_election() -> None:
    seen = Observed(elected_s=100.0)
    assert seen.session_silence_s(8, 130.0) == 30.0
    seen.met_session(8, 115.0)
    assert seen.heard_session(8, 120.0)
    assert seen.session_silence_s(8, 130.0) == 10.0


def test_a_made_up_session_is_not_remembered_and_pushes_nobody_out() -> None:
    seen = Observed(0.0)
    seen.met_session(7, 1.0)
    for session in range(100, observed.SESSIONS_SEEN_MAX + 110):
        assert not seen.heard_session(session, 2.0)
    assert dict(seen.sessions) == {7: 1.0}


def test_the_sessions_that_are_remembered_are_bounded() -> None:
    seen = Observed(0.0)
    for session in range(observed.SESSIONS_SEEN_MAX + 10):
        seen.met_session(session, float(session))
    assert len(seen.sessions) == observed.SESSIONS_SEEN_MAX
    assert 0 not in seen.sessions


def test_a_replica_that_is_listed_as_damaged_no_longer_is_not_damaged_any_more() -> None:
    seen = Observed(0.0)
    seen.registered(1, start(), 1.0)
    torn = OpenReplica(3, Epoch(1, 1), 101, 0, "damaged")
    odd = OpenReplica(4, Epoch(1, 1), 101, 0, "quarantined")
    seen.heard(beat(1, open_replicas=(torn, odd), damage=(DamageFound(2, 101, 7),)), 2.0, 0)
    assert seen.quarantined(4, 1) and not seen.quarantined(3, 1)
    seen.heard(beat(2, open_replicas=(odd,)), 3.0, 0)
    assert dict(seen.damage) == {(2, 1): "block 7 is damaged", (4, 1): "is quarantined"}
    seen.heard(beat(3), 4.0, 0)
    assert set(seen.damage) == {(2, 1)}, "a rotten block is not mended by silence"


def test_which_block_is_damaged_is_known_as_long_as_the_replica_is_listed() -> None:
    seen = Observed(0.0)
    seen.registered(1, start(), 1.0)
    torn = OpenReplica(3, Epoch(1, 1), 101, 0, "damaged")
    seen.heard(beat(1, open_replicas=(torn,), damage=(DamageFound(3, 101, 7),)), 2.0, 0)
    seen.heard(beat(2, open_replicas=(torn,)), 3.0, 0)
    assert dict(seen.damage) == {(3, 1): "block 7 is damaged"}
    seen.heard(beat(3), 4.0, 0)
    assert not seen.damage
    seen.heard(beat(4, open_replicas=(torn,)), 5.0, 0)
    assert dict(seen.damage) == {(3, 1): "is damaged"}
    seen.healed(3, 1)
    seen.heard(beat(5), 6.0, 0)
    assert not seen.damage


def test_a_holder_that_could_not_be_stamped_is_short_until_it_is_healed() -> None:
    seen = Observed(elected_s=0.0)
    seen.registered(1, start(), 1.0)
    short = OpenReplica(3, Epoch(1, 1), 101, 100, "fenced")
    seen.heard(beat(1, open_replicas=(short,)), 2.0, 0)
    seen.short(3, 1)
    for number in (2, 3):
        seen.heard(beat(number, open_replicas=(short,)), 2.0 + number, 0)
        assert dict(seen.damage) == {(3, 1): "has fewer bytes than were sealed"}
    seen.healed(3, 1)
    assert not seen.damage


def test_damage_comes_from_servers_and_troubles_from_anybody() -> None:
    seen = Observed(0.0)
    seen.registered(1, start(), 1.0)
    damaged = OpenReplica(3, Epoch(1, 1), 101, 0, "damaged")
    seen.heard(beat(damage=(DamageFound(2, 101, 7),), open_replicas=(damaged,)), 2.0, 0)
    assert dict(seen.damage) == {(2, 1): "block 7 is damaged", (3, 1): "is damaged"}
    assert seen.trouble(4, 1, "times out")
    assert not seen.trouble(4, 1, "times out")
    for chunk in range(observed.PROBLEMS_MAX + 5):
        seen.trouble(chunk, 2, "x")
    assert len(seen.problems) == observed.PROBLEMS_MAX


def test_promised_bytes_are_forgotten_after_a_while() -> None:
    seen = Observed(0.0)
    seen.promised((1, 101), MIB, 10.0)
    seen.promised((1, 101), MIB, 12.0)
    assert seen.pending_bytes(13.0) == {(1, 101): 2 * MIB}
    assert seen.pending_bytes(10.0 + observed.PENDING_S) == {(1, 101): MIB}
    assert seen.pending_bytes(13.0 + observed.PENDING_S) == {}


def test_what_a_primary_says_of_its_tails_counts_for_its_run_and_until_it_says_otherwise() -> None:
    seen = Observed(elected_s=100.0)
    seen.registered(1, start(), 200.0)
    assert seen.led(7, (1, 5)) is None
    seen.heard(beat(1, led=(LedTail(7, 10, 3), LedTail(8, 0, 0))), 201.0, 0)
    assert seen.led(7, (1, 5)) == LedTail(7, 10, 3)
    assert seen.led(7, (1, 6)) is None, "another run of the server led it"
    seen.heard(beat(2, led=(LedTail(8, 4, 0),)), 202.0, 0)
    assert seen.led(7, (1, 5)) is None and seen.led(8, (1, 5)) == LedTail(8, 4, 0)
    seen.registered(1, start(6), 203.0)
    assert seen.led(8, (1, 6)) is None


def test_a_server_names_so_many_tails_and_no_more() -> None:
    seen = Observed(elected_s=100.0)
    seen.registered(1, start(), 200.0)
    many = tuple(LedTail(number, 1, 1) for number in range(1, TAILS_PER_SERVER_MAX + 2))
    seen.heard(beat(1, led=many), 201.0, 0)
    assert len(seen.servers[1].led) == TAILS_PER_SERVER_MAX
