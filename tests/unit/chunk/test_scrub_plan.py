"""What a scrub does next and how fast: a table of situations, and a year that is played through."""

from __future__ import annotations

import random

from msgspec import structs

from gfs_ha.chunk.scrub_plan import (
    BEGIN,
    END,
    IDLE,
    PAUSED,
    READ,
    SHARE_MIN,
    SLOW_S,
    WAIT,
    Round,
    Sight,
    Step,
    begun,
    ended,
    next_share,
    pace,
    plan_scrub,
)
from gfs_ha.ids import ChunkId
from gfs_ha.limits import MIB, SCRUB_BYTES_PER_S_MIN
from gfs_ha.protocol.scrub import ScrubWanted

WEEK_S = 7 * 24 * 3600
WEEK_MS = WEEK_S * 1000
WANTED = ScrubWanted(32 * MIB, WEEK_S)
CHUNK = ChunkId(9)
NOW = 1_000_000_000


def running(**more: object) -> Round:
    return structs.replace(Round(number=1, running=True, began_ms=NOW), **more)


def sight(now_ms: int = NOW, left: int = 64 * MIB, chunk: ChunkId | None = CHUNK) -> Sight:
    return Sight(now_ms, chunk, left)


def test_a_disk_that_was_never_scrubbed_begins_at_once() -> None:
    assert plan_scrub(Round(), WANTED, sight()).action == BEGIN


def test_without_a_period_only_what_is_asked_for_begins() -> None:
    never = structs.replace(WANTED, period_s=0)
    assert plan_scrub(Round(), never, sight()).action == WAIT
    assert plan_scrub(Round(), structs.replace(never, asked=7), sight()).action == BEGIN


def test_the_next_round_begins_a_period_after_the_last_began() -> None:
    done = ended(running(), NOW + 5000)
    early = plan_scrub(done, WANTED, sight(NOW + WEEK_MS - 1))
    assert (early.action, early.why) == (WAIT, IDLE) and 0 < early.wait_s <= 5
    assert plan_scrub(done, WANTED, sight(NOW + WEEK_MS)).action == BEGIN


def test_a_clock_that_was_set_back_does_not_put_the_next_round_off() -> None:
    done = ended(running(), NOW + 5000)
    assert plan_scrub(done, WANTED, sight(NOW - 400 * WEEK_MS)).action == BEGIN
    again = begun(done, WANTED, NOW - 400 * WEEK_MS)
    assert plan_scrub(again, WANTED, sight(NOW - 400 * WEEK_MS)).action == READ, "once"


def test_an_asked_round_begins_once_also_amid_another() -> None:
    asked = structs.replace(WANTED, asked=5)
    assert plan_scrub(running(after=3), asked, sight()).action == BEGIN
    state = begun(running(after=3, found=2, bytes_done=9), asked, NOW + 1)
    assert (state.after, state.found, state.bytes_done, state.asked) == (0, 0, 0, 5)
    assert state.by_person and state.number == 2
    assert plan_scrub(state, asked, sight()).action == READ
    assert plan_scrub(ended(state, NOW + 2), asked, sight(NOW + 3)).action == WAIT


def test_paused_stands_still_whatever_is_asked() -> None:
    paused = structs.replace(WANTED, paused=True, asked=5)
    for state in (Round(), running()):
        step = plan_scrub(state, paused, sight())
        assert (step.action, step.why) == (WAIT, PAUSED)


def test_a_round_ends_behind_the_last_replica() -> None:
    assert plan_scrub(running(), WANTED, sight(left=0, chunk=None)) == Step(END)


def test_a_disk_on_which_a_piece_is_stuck_is_left_alone_for_a_moment() -> None:
    stuck = structs_replace(sight(), stuck=True)
    step = plan_scrub(running(), WANTED, stuck)
    assert step.action == WAIT and step.wait_s >= 5 and "busy" in step.why


def structs_replace(seen: Sight, **more: object) -> Sight:
    fields = {name: getattr(seen, name) for name in Sight.__slots__}
    return Sight(**{**fields, **more})


def test_a_scheduled_round_is_spread_over_its_period() -> None:
    left = 10_000_000 * MIB // 16
    rate = pace(running(), WANTED, sight(left=left))
    assert left / rate < 0.91 * WEEK_S and rate < WANTED.bytes_per_s
    small = pace(running(), WANTED, sight(left=5 * MIB))
    assert small == SCRUB_BYTES_PER_S_MIN


def test_a_late_round_goes_as_fast_as_it_may_and_never_faster() -> None:
    late = sight(NOW + 8 * WEEK_MS, left=1 << 50)
    assert pace(running(), WANTED, late) == 32 * MIB
    assert pace(running(), WANTED, sight(left=1 << 50)) == 32 * MIB
    unlimited = structs.replace(WANTED, bytes_per_s=0)
    assert pace(running(), unlimited, late) > 32 * MIB


def test_what_is_looked_at_between_rounds_follows_no_schedule() -> None:
    assert pace(running(), WANTED, sight(left=5 * MIB), of_round=False) == WANTED.bytes_per_s
    idle = structs.replace(running(), running=False)
    assert pace(idle, WANTED, sight(left=0), of_round=False) == WANTED.bytes_per_s
    unlimited = structs.replace(WANTED, bytes_per_s=0)
    assert pace(idle, unlimited, sight(left=0), of_round=False) == 0
    busy = structs_replace(sight(left=0), share=0.25)
    assert pace(idle, WANTED, busy, of_round=False) == WANTED.bytes_per_s // 4


def test_an_asked_round_has_its_own_rate() -> None:
    state = running(by_person=True, asked=5)
    assert pace(state, structs.replace(WANTED, asked=5), sight()) == 32 * MIB
    fast = structs.replace(WANTED, asked=5, asked_bytes_per_s=200 * MIB)
    assert pace(state, fast, sight()) == 200 * MIB
    unlimited = structs.replace(WANTED, asked=5, bytes_per_s=0)
    assert pace(state, unlimited, sight()) == 0
    eased = structs_replace(sight(), share=0.25)
    assert 0 < pace(state, unlimited, eased) < 100 * MIB
    assert pace(state, fast, eased) == 50 * MIB


def test_a_slow_disk_gets_a_smaller_share_and_the_rate_comes_back() -> None:
    share = 1.0
    for _ in range(20):
        share = next_share(share, SLOW_S * 2)
    assert share == SHARE_MIN, "it never stops for good"
    for _ in range(20):
        share = next_share(share, SLOW_S / 2)
    assert share == 1.0


def test_every_replica_is_read_once_in_each_period_of_a_year() -> None:
    """Played with a clock of its own: a disk of 4 TiB that is busy again and again."""
    chance = random.Random(7)
    length = 64 * MIB
    ids = list(range(1, 4 * (1 << 40) // length // 128))
    length *= 128  # Fewer steps: the replicas are bigger than real ones.
    state, now_ms, share = Round(), NOW, 1.0
    reads: list[int] = []
    rounds: list[tuple[int, int]] = []
    while now_ms < NOW + 365 * 24 * 3600 * 1000:
        left = [one for one in ids if one > state.after] if state.running else []
        upcoming = ChunkId(left[0]) if left else None
        seen = Sight(now_ms, upcoming, len(left) * length, share, stuck=chance.random() < 0.01)
        step = plan_scrub(state, WANTED, seen)
        if step.action == BEGIN:
            state, reads = begun(state, WANTED, now_ms), []
        elif step.action == END:
            assert reads == ids, "each once, in order"
            rounds.append((state.began_ms, now_ms))
            state = ended(state, now_ms)
        elif step.action == READ:
            assert step.chunk_id is not None and 0 < step.bytes_per_s <= WANTED.bytes_per_s
            reads.append(step.chunk_id)
            state = structs.replace(state, after=step.chunk_id)
            now_ms += int(length / step.bytes_per_s * 1000)
            for _ in range(16):
                share = next_share(share, 1.0 if chance.random() < 0.15 else 0.01)
        else:
            now_ms += max(1, int(step.wait_s * 1000)) if state.running else 3_600_000
    assert 51 <= len(rounds) <= 53
    assert all(end - start < WEEK_MS for start, end in rounds)
