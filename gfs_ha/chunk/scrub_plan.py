"""What the scrub of one disk does next, and how fast: a pure function of its round and the time.

A round goes over all sealed replicas by id. It is spread over most of its period; a round that
somebody asked for goes as fast as it may. A disk that answers slowly has clients, appends or a
repair that want it: the scrub takes a smaller share of its rate then, down to a sixteenth, and
stands still for a moment when a single piece takes very long. It never stops for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gfs_ha.ids import ChunkId
from gfs_ha.limits import MIB, SCRUB_BYTES_PER_S_MIN
from gfs_ha.protocol.scrub import ScrubWanted

SPREAD = 0.9  # The share of a period over which its round is spread.
SLOW_S = 0.25  # A piece of 1 MiB that takes longer says that others want the disk.
STUCK_S = 1.0
REST_S = 5.0  # After a piece that took so long.
SHARE_MIN = 1 / 16
LOOK_S = 5.0  # How long it waits at most before it looks again.
SUSPECTS_MAX = 1000
FINDS_MAX = 16
WHY_CHARS = 100
_FAST = 256 * MIB  # Bytes per second that a limit of none begins to give way from.

WAIT, BEGIN, READ, END = "wait", "begin", "read", "end"
PAUSED, IDLE = "paused", "idle"


class Find(msgspec.Struct, frozen=True, array_like=True):
    """A replica that was found damaged, and when by the wall clock."""

    found_ms: int
    chunk_id: int
    why: str


class Round(msgspec.Struct, frozen=True, array_like=True):
    """Where the scrub of a disk stands; kept across restarts. Times are wall times in ms.

    Fields are only added at the end. `suspects` are replicas that were found damaged: their server
    remembers them although it may be started again before they are healed.
    """

    number: int = 0
    running: bool = False
    asked: int = 0  # The number of the newest round that was asked for.
    by_person: bool = False  # The newest round is that one.
    began_ms: int = 0
    after: int = 0  # The chunks up to this id are done.
    bytes_done: int = 0
    replicas_done: int = 0
    found: int = 0
    mended: int = 0
    ended_ms: int = 0  # Of the last whole round.
    took_ms: int = 0
    last_found: int = 0
    suspects: tuple[int, ...] = ()
    found_ever: int = 0  # Damaged replicas in the life of the disk, whoever found them.
    finds: tuple[Find, ...] = ()  # The newest, for people; oldest first.


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen at one moment.

    Fields:
        next_chunk: the sealed replica with the lowest id above the round's, or None.
        bytes_left: of this and all behind it.
        share: of the rate, as the disk bears it.
        stuck: the last piece took very long.
    """

    now_ms: int
    next_chunk: ChunkId | None
    bytes_left: int
    share: float = 1.0
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: WAIT for `wait_s`, BEGIN a round, READ a replica, END the round."""

    action: str
    wait_s: float = 0.0
    chunk_id: ChunkId | None = None
    bytes_per_s: int = 0  # 0: no limit.
    why: str = ""


def plan_scrub(state: Round, wanted: ScrubWanted, sight: Sight) -> Step:
    """Return the next step of a disk's scrub."""
    if wanted.paused:
        return Step(WAIT, LOOK_S, why=PAUSED)
    if wanted.asked > state.asked or (not state.running and _due(state, wanted, sight.now_ms)):
        return Step(BEGIN)
    if not state.running:
        left_s = (next_ms(state, wanted) - sight.now_ms) / 1000 if wanted.period_s else LOOK_S
        return Step(WAIT, min(LOOK_S, max(0.1, left_s)), why=IDLE)
    if sight.next_chunk is None:
        return Step(END)
    if sight.stuck:
        return Step(WAIT, REST_S, why="the disk is busy: a piece took more than a second")
    return Step(READ, 0.0, sight.next_chunk, pace(state, wanted, sight))


def _due(state: Round, wanted: ScrubWanted, now_ms: int) -> bool:
    if not wanted.period_s:
        return False
    # A clock that was set back must not put the next round off for ever.
    return not state.number or now_ms >= next_ms(state, wanted) or now_ms < state.began_ms


def next_ms(state: Round, wanted: ScrubWanted) -> int:
    """Return the wall time at which the next round by schedule is due; 0: none is."""
    return state.began_ms + wanted.period_s * 1000 if wanted.period_s else 0


def pace(state: Round, wanted: ScrubWanted, sight: Sight, of_round: bool = True) -> int:
    """Return the bytes per second at which the round goes on now; 0: without a limit.

    What is looked at between rounds is wanted now, and follows no schedule. What the disk bears is
    a share of the limit, not of what the schedule needs: a round that gave way for a while catches
    up as soon as it may.
    """
    limit = wanted.bytes_per_s
    if state.by_person:
        limit = needed = wanted.asked_bytes_per_s or limit
    elif not of_round:
        needed = limit
    else:
        spread_ms = wanted.period_s * 1000 * SPREAD
        left_ms = spread_ms - max(0, sight.now_ms - state.began_ms)
        # Late: for a hundredth of the period, as far as the limit allows.
        needed = int(sight.bytes_left / max(left_ms, spread_ms / 100, 1.0) * 1000)
        needed = max(needed, SCRUB_BYTES_PER_S_MIN)
    if not limit and sight.share >= 1:
        return needed
    borne = max(1, int((limit or _FAST) * sight.share))
    return min(needed, borne) if needed else borne


def next_share(share: float, took_s: float) -> float:
    """Return the share of its rate that a disk bears, after a piece of 1 MiB took so long."""
    if took_s > SLOW_S:
        return max(SHARE_MIN, share / 2)
    return min(1.0, share * 1.25)


def begun(state: Round, wanted: ScrubWanted, now_ms: int) -> Round:
    """Return a new round at its beginning."""
    return msgspec.structs.replace(
        state,
        number=state.number + 1,
        running=True,
        by_person=wanted.asked > state.asked,
        asked=max(state.asked, wanted.asked),
        began_ms=now_ms,
        after=0,
        bytes_done=0,
        replicas_done=0,
        found=0,
        mended=0,
    )


def with_find(state: Round, find: Find) -> Round:
    """Return the state with one damaged replica more; what is said anew of it counts once."""
    same = bool(state.finds) and state.finds[-1].chunk_id == find.chunk_id
    kept = state.finds[:-1] if same else state.finds
    short = msgspec.structs.replace(find, why=find.why[:WHY_CHARS])
    return msgspec.structs.replace(
        state,
        finds=(*kept, short)[-FINDS_MAX:],
        found_ever=state.found_ever + (not same),
    )


def ended(state: Round, now_ms: int) -> Round:
    """Return the round at its end: it went over everything."""
    return msgspec.structs.replace(
        state,
        running=False,
        ended_ms=now_ms,
        took_ms=max(0, now_ms - state.began_ms),
        last_found=state.found,
    )
