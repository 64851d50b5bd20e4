"""Orders that wait: sent at once, again every second, replaced by later steps, bounded."""

from __future__ import annotations

from gfs_ha.ids import Birth
from gfs_ha.limits import ORDERS_PER_REPLY_MAX
from gfs_ha.master import orders
from gfs_ha.master.orders import DELETE, FENCE, OrderBook
from gfs_ha.protocol.control import (
    CopyReplica,
    DeleteReplica,
    FenceReplica,
    KeepReplica,
    ProveReplica,
    StopCopy,
)

BIRTH = Birth(1, 1)


def fence(chunk: int = 7, index: int = 50) -> FenceReplica:
    return FenceReplica(chunk, BIRTH, index, 0)


def prove(chunk: int = 7, index: int = 50, length: int = 9) -> ProveReplica:
    return ProveReplica(chunk, BIRTH, index, length)


def copy(index: int = 70, rate: int = 0) -> CopyReplica:
    return CopyReplica(7, BIRTH, index, 9, 5, 1, "put", "disk", 99, (), rate)


def test_an_order_is_due_at_once_and_again_after_a_second() -> None:
    book = OrderBook()
    assert book.want(1, fence())
    assert book.has_due(1, 0.0) and not book.has_due(2, 0.0)
    assert book.due(1, 0.0) == (fence(),)
    assert book.due(1, 0.9) == () and not book.has_due(1, 0.9)
    assert book.due(1, 1.0) == (fence(),)
    assert book.waiting_s(1, 7, 3.0) == 3.0


def test_the_same_order_again_changes_nothing() -> None:
    book = OrderBook()
    book.want(1, fence())
    book.due(1, 0.0)
    book.want(1, fence())
    assert book.due(1, 0.5) == ()


def test_a_later_step_replaces_an_earlier_one_and_never_the_other_way_round() -> None:
    book = OrderBook()
    book.want(1, fence())
    book.due(1, 0.0)
    assert book.want(1, prove())
    assert book.due(1, 0.1) == (prove(),)
    assert not book.want(1, fence(index=40))
    delete = DeleteReplica(7, 60, "dead")
    assert book.want(1, delete)
    assert book.due(1, 0.2) == (delete,)
    newer = DeleteReplica(7, 61, "gone")
    assert book.want(1, newer) and not book.has_due(1, 0.3), "sent a moment ago"
    assert not book.want(1, prove()) and book.due(1, 1.2) == (newer,)


def test_a_copy_goes_on_at_the_rate_of_now_until_it_is_stopped_or_placed_anew() -> None:
    book = OrderBook()
    book.want(1, copy(rate=9))
    assert book.due(1, 0.0) == (copy(rate=9),)
    assert book.want(1, copy(rate=4)) and book.due(1, 0.5) == ()
    assert book.due(1, 1.0) == (copy(rate=4),)
    assert book.want(1, StopCopy(7, 70)) and book.due(1, 1.1) == (StopCopy(7, 70),)
    assert book.want(1, copy(index=71)) and book.due(1, 1.2) == (copy(index=71),)


def test_a_keep_stands_until_it_is_answered_and_a_renewed_drop_is_newer() -> None:
    book = OrderBook()
    drop, keep = DeleteReplica(7, 80, "surplus"), KeepReplica(7, 80)
    book.want(1, drop)
    book.due(1, 0.0)
    assert book.want(1, keep) and book.due(1, 0.1) == (keep,)
    assert book.want(1, drop) and book.due(1, 1.1) == (keep,)
    assert book.want(1, DeleteReplica(7, 81, "surplus"))
    assert book.due(1, 1.2) == (DeleteReplica(7, 81, "surplus"),)


def test_an_answer_strikes_out_only_the_order_that_it_answers() -> None:
    book = OrderBook()
    book.want(1, prove())
    assert not book.answered(1, 7, FENCE, 50)
    assert not book.answered(1, 7, "prove", 49)
    assert book.answered(1, 7, "prove", 50)
    assert book.count() == 0


def test_want_only_takes_back_what_is_not_wanted_any_more() -> None:
    book = OrderBook()
    for server in (1, 2, 3):
        book.want(server, fence())
    book.want(1, fence(8))
    book.want_only(7, {2: prove()})
    assert book.due(1, 0.0) == (fence(8),)
    assert book.due(2, 0.0) == (prove(),)
    assert book.due(3, 0.0) == ()
    book.forget(8, (DELETE,))
    assert book.count() == 2
    book.forget(8, (FENCE,))
    assert book.count() == 1


def test_a_reply_carries_a_bounded_number_and_the_book_takes_a_bounded_number() -> None:
    book = OrderBook()
    taken = [book.want(1, fence(chunk)) for chunk in range(orders.OUTSTANDING_MAX + 1)]
    assert taken.count(False) == 1
    assert len(book.due(1, 0.0)) == ORDERS_PER_REPLY_MAX
    assert book.has_due(1, 0.0)


def test_deletes_that_a_server_never_obeys_keep_no_seal_from_it() -> None:
    book = OrderBook()
    for chunk in range(100, 100 + orders.OUTSTANDING_MAX):
        assert book.want(1, DeleteReplica(chunk, 40, "dead"))
    assert book.want(1, fence()), "never sent, a seal would wait for its answer for ever"
    assert not book.want(1, DeleteReplica(99, 40, "dead"))
    assert book.count() == orders.OUTSTANDING_MAX
