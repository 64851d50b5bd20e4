"""Parked heartbeats: answered at once when there are orders, else in a second, else sent on."""

from __future__ import annotations

from gfs_ha.errors import NotLeader
from gfs_ha.ids import Birth, DiskId, Epoch
from gfs_ha.limits import SUSPECT_S
from gfs_ha.master import reign as reigns
from gfs_ha.master.handlers.call import Call, Slot
from gfs_ha.master.reign import Reign
from gfs_ha.protocol.calls import CallReply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.control import (
    CompareReplica,
    FenceReplica,
    FinishReplica,
    HeartbeatReply,
)
from gfs_ha.protocol.damage import INTACT, UNREACHABLE, WAITING, VerifiedChunk, VerifiedReplica
from gfs_ha.protocol.repair import RepairAllowance
from gfs_ha.runtime import ThreadedRuntime

EPOCH = Epoch(1, 4)
FENCE = FenceReplica(7, Birth(1, 1), 50, 0)


class Beat:
    """One heartbeat's place in the door, and what it was answered."""

    def __init__(self) -> None:
        self._call = Call(ThreadedRuntime(), 1, 10.0)
        self.slot = Slot(self._call, 0, 0, 0, 0)

    def answer(self) -> object:
        data = self._call.deferred.answer
        return None if data is None else decode(CallReply, data)[0]

    def hang_up(self) -> None:
        self._call.deferred.abandon()


def test_a_heartbeat_waits_a_second_when_there_is_nothing_to_order() -> None:
    reign, beat = Reign(EPOCH, 0.0), Beat()
    reign.park(1, beat.slot, 10.0)
    reign.release_due(10.9)
    assert beat.answer() is None
    reign.release_due(11.0)
    assert beat.answer() == HeartbeatReply(EPOCH)


def test_orders_are_sent_at_once() -> None:
    reign, waiting, late = Reign(EPOCH, 0.0), Beat(), Beat()
    reign.park(1, waiting.slot, 10.0)
    reign.orders.want(1, FENCE)
    reign.release_if_due(1, 10.1)
    assert waiting.answer() == HeartbeatReply(EPOCH, (FENCE,))
    reign.park(1, late.slot, 10.2)
    assert late.answer() is None, "it was sent a moment ago"
    reign.release_due(11.2)
    assert late.answer() == HeartbeatReply(EPOCH, (FENCE,))


def test_who_is_to_verify_its_copy_is_told_again_when_another_order_took_the_place() -> None:
    reign, asking, verified = Reign(EPOCH, 9.0), Beat(), Beat()
    compare = CompareReplica(7, Birth(1, 1), 50, 1000, 1)
    finish = FinishReplica(7, Birth(1, 1), 50, 1000, 1)
    reign.orders.want(1, compare)
    row = VerifiedReplica(1, "cs1", "r1", WAITING, "")
    reign.checks.begin(VerifiedChunk(7, 1000, 3), [row], asking.slot, 10.0, compare)
    reign.orders.want(1, finish)
    reign.park(1, verified.slot, 10.0)
    assert verified.answer() == HeartbeatReply(EPOCH, (finish,)), "it has the same number"
    reign.orders.answered(1, 7, "finish_seal", 50)
    again = Beat()
    reign.park(1, again.slot, 10.1)
    reign.release_due(10.2)
    assert again.answer() == HeartbeatReply(EPOCH, (compare,))
    reign.checks.answered(7, 1, INTACT, "")
    assert reign.checks.unanswered() == []


def test_nobody_waits_for_a_copy_to_be_read_whose_server_fell_silent_meanwhile() -> None:
    reign, asking = Reign(EPOCH, 9.0), Beat()
    compare = CompareReplica(7, Birth(1, 1), 50, 1000, 1)
    row = VerifiedReplica(1, "cs1", "r1", WAITING, "its server reads it")
    reign.checks.begin(VerifiedChunk(7, 1000, 3), [row], asking.slot, 10.0, compare)
    reign.release_due(10.2)
    assert asking.answer() is None
    reign.release_due(9.0 + SUSPECT_S)
    report = asking.answer()
    assert isinstance(report, VerifiedChunk)
    assert [(one.verdict, one.why) for one in report.replicas] == [
        (UNREACHABLE, "its server is suspect")
    ]


def test_what_repair_may_take_is_told_at_once_when_it_changes_and_with_every_answer() -> None:
    reign = Reign(EPOCH, 0.0)
    beats = [Beat() for _ in range(4)]
    some, little_more, none = (RepairAllowance(one, 500) for one in (1000, 1020, -1))
    reign.park(1, beats[0].slot, 10.0)
    reign.allow(1, some, 10.1)
    assert beats[0].answer() == HeartbeatReply(EPOCH, repair=some)
    reign.park(1, beats[1].slot, 10.2)
    reign.allow(1, little_more, 10.3)
    assert beats[1].answer() is None, "so little can wait"
    reign.release_due(11.2)
    assert beats[1].answer() == HeartbeatReply(EPOCH, repair=little_more)
    reign.park(1, beats[2].slot, 11.3)
    reign.allow(1, none, 11.4)
    assert beats[2].answer() == HeartbeatReply(EPOCH, repair=none)
    reign.park(1, beats[3].slot, 11.5)
    reign.allow(1, none, 11.6)
    reign.release_due(12.5)
    assert beats[3].answer() == HeartbeatReply(EPOCH, repair=none), "else it would lapse"


def test_orders_that_wait_go_with_the_next_heartbeat() -> None:
    reign, beat = Reign(EPOCH, 0.0), Beat()
    reign.orders.want(1, FENCE)
    reign.park(1, beat.slot, 10.0)
    assert beat.answer() == HeartbeatReply(EPOCH, (FENCE,))


def test_a_newer_heartbeat_releases_the_older_one() -> None:
    reign, old, new = Reign(EPOCH, 0.0), Beat(), Beat()
    reign.park(1, old.slot, 10.0)
    reign.park(1, new.slot, 10.5)
    assert old.answer() == HeartbeatReply(EPOCH)
    assert new.answer() is None


def test_orders_are_not_wasted_on_a_server_that_hung_up() -> None:
    reign, gone, back = Reign(EPOCH, 0.0), Beat(), Beat()
    reign.park(1, gone.slot, 10.0)
    gone.hang_up()
    reign.orders.want(1, FENCE)
    reign.release_if_due(1, 10.1)
    reign.park(1, back.slot, 10.2)
    assert back.answer() == HeartbeatReply(EPOCH, (FENCE,))


def test_the_end_of_a_reign_sends_everybody_on() -> None:
    reign, beat = Reign(EPOCH, 0.0), Beat()
    reign.park(1, beat.slot, 10.0)
    reign.end(NotLeader("m2 leads", leader="m2"))
    answer = beat.answer()
    assert isinstance(answer, Failure) and answer.details == {"leader": "m2"}


def test_acknowledged_deletes_are_handed_out_in_bounded_parts() -> None:
    reign = Reign(EPOCH, 0.0)
    for chunk in range(reigns.DELETED_MAX + 5):
        reign.note_deleted(chunk, 1, [DiskId(101)])
    assert len(reign.deleted) == reigns.DELETED_MAX
    assert reign.take_deleted(2) == ((0, 1, 101), (1, 1, 101))
    assert len(reign.deleted) == reigns.DELETED_MAX - 2


def test_a_lease_is_told_for_what_is_left_from_when_the_heartbeat_came() -> None:
    reign, beat, late, old = Reign(EPOCH, 0.0), Beat(), Beat(), Beat()
    reign.note_lease(1, 40.0)
    reign.park(1, beat.slot, 10.0)
    reign.release_due(11.0)
    assert beat.answer() == HeartbeatReply(EPOCH, lease_ms=30_000)
    reign.park(1, late.slot, 50.0)
    reign.release_due(51.0)
    assert late.answer() == HeartbeatReply(EPOCH), "a lease that ran out is none"
    reign.note_lease(1, 90.0)
    reign.forget_lease(1)
    reign.park(1, old.slot, 60.0)
    reign.release_due(61.0)
    assert old.answer() == HeartbeatReply(EPOCH), "another run of the server held it"


def test_a_primary_hears_of_its_lease_with_the_order_to_create_its_tail() -> None:
    reign, beat, again = Reign(EPOCH, 0.0), Beat(), Beat()
    reign.expect_lease(1, 10.0)
    reign.park(1, beat.slot, 10.0)
    reign.release_due(11.0)
    assert beat.answer() == HeartbeatReply(EPOCH, lease_ms=60_000)
    reign.note_lease(1, 25.0)
    reign.expect_lease(1, 12.0)  # A lease that it holds is not made longer by that.
    reign.park(1, again.slot, 15.0)
    reign.release_due(16.0)
    assert again.answer() == HeartbeatReply(EPOCH, lease_ms=10_000)


def test_a_server_whose_connection_broke_has_hung_up_until_it_is_heard_again() -> None:
    reign, gone, back = Reign(EPOCH, 0.0), Beat(), Beat()
    assert not reign.hung_up(1), "it was never heard"
    reign.park(1, gone.slot, 10.0)
    assert not reign.hung_up(1)
    gone.hang_up()
    assert reign.hung_up(1) and reign.all_hung_up() == {1}
    reign.release_due(11.0)
    assert reign.all_hung_up() == {1}
    assert reign.hung_up(1), "what was to be answered is over, the server is not back"
    reign.park(1, back.slot, 11.1)
    assert not reign.hung_up(1)
    reign.release_due(12.1)
    assert back.answer() and not reign.hung_up(1) and not reign.all_hung_up()
