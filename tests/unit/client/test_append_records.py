"""The records of an appender that are not settled: which are in doubt, and since which stream."""

from __future__ import annotations

from gfs_ha.client.append_records import PendingRecords
from gfs_ha.runtime import ThreadedRuntime


def test_what_a_stream_says_was_not_written_may_be_written_by_an_earlier_one() -> None:
    """Else it is sent to the next tail without a question, and is there twice."""
    pending, runtime = PendingRecords(), ThreadedRuntime()
    pending.add(b"first", runtime.future())
    pending.take_unsent(100)
    assert pending.in_doubt() == [1]
    pending.begin_again()  # That stream broke: the primary may have the record.
    pending.add(b"second", runtime.future())
    pending.take_unsent(100)
    pending.add(b"third", runtime.future())
    pending.unwritten()  # Of the second stream nothing was written that is not acknowledged.
    assert pending.in_doubt() == [1]
    pending.take_unsent(100)
    assert pending.in_doubt() == [1, 2, 3]
