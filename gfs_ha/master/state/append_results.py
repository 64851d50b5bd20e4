"""The results of appended records, kept with their file, so that each is appended once (C8).

A sealed tail brings the records that may still be asked about. Of each appender those below its
newest window start are dropped: it asks for them no more. So are those of a session that has ended:
nobody asks for it. A file remembers so many appenders; the one whose newest record is the oldest
leaves first, and the horizon says up to which session some have been forgotten. Who is at or below
it and not in the table is told that nothing is known. When such a one comes again with new records,
its older ones stay unknown (`forgotten_below`), else they would be taken for records never seen.

When a file is removed or replaced some records are still on their way to it, so its results are
kept for a while: who appended them is told what became of them.
"""

from __future__ import annotations

from itertools import groupby, islice

from gfs_ha.errors import InvalidArgument
from gfs_ha.ids import NO_SESSION, InodeId, SessionId
from gfs_ha.limits import (
    APPEND_WINDOW,
    APPENDERS_PER_FILE_MAX,
    BATCH_RECORDS_MAX,
    GONE_FILES_MAX,
    GONE_RESULTS_MS,
    ITEMS_PER_COMMAND_MAX,
    TAIL_RESULTS_MAX,
)
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.records import Reapable
from gfs_ha.master.state.tables import (
    APPEND_FILES,
    APPEND_RESULTS,
    GONE_FILES,
    OLD_RESULTS,
    below,
    id_key,
    pair_key,
    read_pair,
)
from gfs_ha.master.state.tail_commands import SweepResults
from gfs_ha.master.state.tail_reads import append_file, gone_since_ms
from gfs_ha.master.state.tail_records import AppendFile, AppendResults, GoneFile
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.records import RecordEntry

_SWEPT_MAX = 500  # By one command; a row each, and one for each file.
_SWEPT = 32  # Of the appenders longest unused: whether their sessions have ended.


def check_records(records: tuple[RecordEntry, ...], length: int) -> None:
    """Raises: InvalidArgument, LimitExceeded unless these can be the records of a tail.

    Whatever an appender may send has to pass: a file whose tail cannot be sealed is stuck.
    """
    check_count("records", records, TAIL_RESULTS_MAX + BATCH_RECORDS_MAX)
    before = (0, -1)
    for one in records:
        check_range("appender", one.appender, 1, U64_MAX)
        check_range("window_start", one.window_start, 0, U64_MAX)
        last = one.window_start + APPEND_WINDOW - 1
        check_range("sequence", one.sequence, one.window_start, last)
        check_range("offset", one.offset, 0, length)
        check_range("length", one.length, 1, length - one.offset)
        if (one.appender, one.sequence) <= before:
            raise InvalidArgument(
                f"record {one.sequence} of appender {one.appender} is not in its order"
            )
        before = (one.appender, one.sequence)


def merge_records(
    draft: Draft, inode_id: InodeId, file_offset: int, records: tuple[RecordEntry, ...]
) -> None:
    """Add the records of a tail that begins at `file_offset` to the table of its file.

    One that has bytes has records. None are told when its replicas were sealed already, and masters
    go on from a copy that lacks that seal: then nothing is known of these records any more.
    """
    before = append_file(draft.view, inode_id)
    file = before or AppendFile(NO_SESSION, ())
    fresh = {}
    for appender, found in groupby(records, lambda one: one.appender):
        if draft.view.session(appender) is not None:
            fresh[appender] = draft.order_index
            _merge_appender(draft, (inode_id, appender), (file, file_offset), list(found))
    kept = [use for use in file.uses if use[0] not in fresh]
    ended = {one for one, _ in kept[:_SWEPT] if draft.view.session(one) is None}
    uses = [use for use in kept if use[0] not in ended] + list(fresh.items())
    surplus = max(0, len(uses) - APPENDERS_PER_FILE_MAX)
    forgotten = [appender for appender, _ in uses[:surplus]]
    for appender in (*ended, *forgotten):
        draft.rows.delete(APPEND_RESULTS, pair_key(inode_id, appender))
    blurred = file.blurred if records else SessionId(draft.counters.last_session)
    after = AppendFile(max(file.horizon, *forgotten, NO_SESSION), tuple(uses[surplus:]), blurred)
    if before is not None or after.uses or blurred:
        draft.counters.append_files += before is None
        draft.rows.put(APPEND_FILES, id_key(inode_id), after)


def _merge_appender(
    draft: Draft,
    key: tuple[InodeId, SessionId],
    place: tuple[AppendFile, int],
    records: list[RecordEntry],
) -> None:
    file, file_offset = place
    before = draft.rows.get(APPEND_RESULTS, pair_key(*key))
    if before is None:
        known = key[1] > file.horizon
        before = AppendResults(0, (), 0 if known else records[0].sequence)
    start = max(before.window_start, *(one.window_start for one in records))
    merged = {
        one.sequence: AppendResult(one.sequence, file_offset + one.offset, one.length)
        for one in records
    }
    # What was known first stays: it is what the appender may have been told.
    merged.update((result.sequence, result) for result in before.results)
    kept = tuple(merged[sequence] for sequence in sorted(merged) if sequence >= start)
    after = AppendResults(start, kept, before.forgotten_below)
    draft.rows.put(APPEND_RESULTS, pair_key(*key), after)


@step(SweepResults)
def sweep_results(draft: Draft, command: SweepResults) -> Done:
    """Forget the results of sessions that have ended. Refuses: LimitExceeded, InvalidArgument."""
    check_count("inodes", command.inodes, ITEMS_PER_COMMAND_MAX)
    left = _SWEPT_MAX
    for inode_id in command.inodes:
        check_range("inode", inode_id, 0, U64_MAX)
        file = append_file(draft.view, inode_id)
        if file is None:
            continue
        gone = [one for one, _ in file.uses if draft.view.session(one) is None][:left]
        left -= len(gone)
        for appender in gone:
            draft.rows.delete(APPEND_RESULTS, pair_key(inode_id, appender))
        if gone:
            ended = set(gone)
            uses = tuple(use for use in file.uses if use[0] not in ended)
            kept = AppendFile(file.horizon, uses, file.blurred)
            draft.rows.put(APPEND_FILES, id_key(inode_id), kept)
    return Done()


def remember_file(draft: Draft, inode_id: InodeId) -> None:
    """Note that a file had a tail, also one that was sealed without any byte.

    So of a file that is gone it can be told that a record was never in it.
    """
    if append_file(draft.view, inode_id) is None:
        draft.counters.append_files += 1
        draft.rows.put(APPEND_FILES, id_key(inode_id), AppendFile(NO_SESSION, ()))


def leave_results(draft: Draft, inode_id: InodeId) -> None:
    """Keep for a while what a file that is gone knows of records: some are still on their way."""
    if not draft.counters.append_files or append_file(draft.view, inode_id) is None:
        return
    if draft.counters.gone_files >= GONE_FILES_MAX:
        _release_oldest(draft)
    key = pair_key(draft.stamp.index, inode_id)
    draft.rows.put(GONE_FILES, key, GoneFile(draft.counters.cluster_ms))
    draft.counters.gone_files += 1


def release_one(draft: Draft) -> bool:
    """Leave the results of the file that is gone longest to be reaped, if its time is over."""
    since_ms = gone_since_ms(draft.view)
    if since_ms is None or draft.counters.cluster_ms < since_ms + GONE_RESULTS_MS:
        return False
    _release_oldest(draft)
    return True


def _release_oldest(draft: Draft) -> None:
    key, _ = next(iter(draft.rows.scan(GONE_FILES)))
    inode_id = InodeId(read_pair(key)[1])
    draft.rows.delete(GONE_FILES, key)
    draft.rows.delete(APPEND_FILES, id_key(inode_id))
    draft.rows.put(OLD_RESULTS, id_key(inode_id), Reapable(draft.stamp.index))
    draft.counters.gone_files -= 1
    draft.counters.append_files -= 1
    draft.counters.reapable += 1


def reap_results(draft: Draft, inode_id: InodeId, limit: int) -> bool:
    """Delete at most `limit` rows of results; return whether that was the last one."""
    found = draft.rows.scan(APPEND_RESULTS, *below(id_key(inode_id)))
    keys = [key for key, _ in islice(found, limit + 1)]
    for key in keys[:limit]:
        draft.rows.delete(APPEND_RESULTS, key)
    return len(keys) <= limit
