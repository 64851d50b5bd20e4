"""The results of records: merged, pruned, forgotten, and gone with their file (C8)."""

from __future__ import annotations

from state_driver import Driver

from gfs_ha.ids import InodeId, SessionId
from gfs_ha.limits import (
    APPENDERS_PER_FILE_MAX,
    COMMAND_BYTES_MAX,
    GONE_RESULTS_MS,
    ROWS_PER_COMMAND_MAX,
    TAIL_APPENDERS_MAX,
    TAIL_RESULTS_MAX,
)
from gfs_ha.master.state import append_results, tables, tail_reads
from gfs_ha.master.state.commands import ReapStep
from gfs_ha.master.state.tail_commands import SweepResults
from gfs_ha.master.state.tail_reads import RecordsKnown
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.metadata import CloseSession, Remove, Rename
from gfs_ha.protocol.records import RecordEntry


class Log(Driver):
    """One file that is appended to."""

    def __init__(self) -> None:
        super().__init__()
        self.session = self.open_session()
        self.inode_id = self.file(self.session)

    def append(self, *records: tuple[int, int, int]) -> None:
        """Seal a tail with these (appender, sequence, window start), ten bytes each."""
        while self.last_session() < max(appender for appender, _, _ in records):
            self.open_session()
        entries = [
            RecordEntry(SessionId(appender), sequence, start, 10 * place, 10)
            for place, (appender, sequence, start) in enumerate(records)
        ]
        self.seal(self.tail("/log"), 10 * len(entries), *sorted(entries))

    def last_session(self) -> int:
        with self.view() as view:
            return view.counters().last_session

    def reapable(self) -> int:
        with self.view() as view:
            return view.counters().reapable

    def known(self, appender: int, *sequences: int) -> RecordsKnown:
        with self.view() as view:
            return tail_reads.records_known(view, self.inode_id, SessionId(appender), sequences)


def test_a_result_is_an_offset_in_the_file() -> None:
    log = Log()
    log.append((5, 1, 1), (6, 1, 1))
    log.append((5, 2, 1))
    assert log.known(5, 1, 2, 3) == RecordsKnown(
        (AppendResult(1, 0, 10), AppendResult(2, 20, 10)), 1, False
    )
    assert log.known(6, 1).results == (AppendResult(1, 10, 10),)
    log.check()


def test_what_is_below_the_newest_window_start_is_dropped_and_said_to_be_done() -> None:
    log = Log()
    log.append((5, 1, 1), (5, 2, 1))
    log.append((5, 3, 2))
    assert log.known(5, 1, 2, 3) == RecordsKnown(
        (AppendResult(2, 10, 10), AppendResult(3, 20, 10)), 2, False
    )
    log.append((5, 5, 5))
    assert log.known(5, 1, 2, 3, 5) == RecordsKnown((AppendResult(5, 30, 10),), 5, False)
    log.check()


def test_a_tail_that_is_sealed_without_its_records_may_hold_those_of_any_session() -> None:
    """Its replicas were sealed by masters of whom an older copy was recovered (M5)."""
    log = Log()
    log.append((5, 1, 1), (5, 2, 1))
    while log.last_session() < 7:
        log.open_session()
    log.seal(log.tail("/log"), 30)
    assert log.known(5, 1, 2) == RecordsKnown(
        (AppendResult(1, 0, 10), AppendResult(2, 10, 10)), 1, False
    )
    assert log.known(5, 2, 3).expired and log.known(7, 1).expired
    assert not log.known(5).expired and not log.known(7).expired
    log.append((5, 4, 3), (8, 1, 1))
    assert not log.known(5, 1, 2, 4).expired, "below the window all is done"
    assert log.known(5, 3).expired
    assert not log.known(8, 2).expired, "it came after that"
    log.check()


def test_a_file_whose_first_tail_was_sealed_without_its_records_knows_nothing_of_anybody() -> None:
    log = Log()
    log.seal(log.tail("/log"), 30)
    assert log.known(1, 1).expired and not log.known(2, 1).expired
    log.check()


def test_the_window_never_goes_back() -> None:
    log = Log()
    log.append((5, 9, 8))
    log.append((5, 10, 3))
    assert log.known(5, 9, 10).window_start == 8
    log.append((5, 4, 3))
    assert log.known(5, 4) == RecordsKnown((), 8, False)
    log.check()


def test_a_whole_window_of_an_appender_is_kept() -> None:
    log = Log()
    log.append(*[(5, sequence, 1) for sequence in range(1, 1025)])
    assert len(log.known(5, *range(1, 1025)).results) == 1024
    log.append(*[(5, sequence, 1025) for sequence in range(1025, 2049)])
    assert [one.sequence for one in log.known(5, *range(2049)).results] == [*range(1025, 2049)]
    log.check()


def test_what_was_told_of_a_record_first_stays() -> None:
    log = Log()
    log.append((5, 1, 1))
    log.append((5, 1, 1))
    assert log.known(5, 1).results == (AppendResult(1, 0, 10),)


def test_the_appender_longest_unused_is_forgotten_first_and_raises_the_horizon(monkeypatch) -> None:
    monkeypatch.setattr(append_results, "APPENDERS_PER_FILE_MAX", 2)
    log = Log()
    log.append((7, 1, 1))
    log.append((5, 1, 1))
    log.append((7, 2, 1))
    log.append((9, 1, 1))
    assert log.known(5, 1) == RecordsKnown(expired=True)
    assert log.known(4, 1) == RecordsKnown(expired=True), "it may have been forgotten, too"
    assert log.known(6, 1) == RecordsKnown(), "it is above the horizon: nothing of it is there"
    assert len(log.known(7, 1, 2).results) == 2
    log.append((5, 7, 7))
    assert log.known(5, 7).results == (AppendResult(7, 40, 10),)
    assert log.known(7, 1) == RecordsKnown(expired=True)
    log.check()


def test_who_was_forgotten_and_comes_again_is_told_nothing_of_its_older_records(
    monkeypatch,
) -> None:
    """Else record 1, which is in the file, is taken for one that never came, and sent again."""
    monkeypatch.setattr(append_results, "APPENDERS_PER_FILE_MAX", 1)
    log = Log()
    log.append((5, 1, 1))
    log.append((6, 1, 1))
    assert log.known(5, 1) == RecordsKnown(expired=True)
    log.append((5, 3, 1))
    assert log.known(5, 1, 2, 3) == RecordsKnown((AppendResult(3, 20, 10),), 1, True)
    assert log.known(5, 3, 4) == RecordsKnown((AppendResult(3, 20, 10),), 1, False)
    log.append((5, 4, 4))
    assert log.known(5, 1, 3) == RecordsKnown((), 4, False), "it said itself that they are done"
    log.check()


def test_who_asks_for_nothing_is_told_of_nothing_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(append_results, "APPENDERS_PER_FILE_MAX", 1)
    log = Log()
    log.append((5, 1, 1), (6, 1, 1))
    assert log.known(4) == log.known(5) == RecordsKnown()


def test_nothing_is_kept_of_sessions_that_have_ended() -> None:
    log = Log()
    log.append((5, 1, 1), (6, 1, 1), (7, 1, 1))
    for session in (5, 7):
        log.ok(CloseSession(), session)
    log.append((6, 2, 1), (7, 2, 1))
    with log.view() as view:
        file = tail_reads.append_file(view, log.inode_id)
        assert [appender for appender, _ in file.uses] == [6]
        assert file.horizon == 0, "those who live are told as before"
    log.check()
    log.ok(CloseSession(), 6)
    log.append((7, 3, 1))
    with log.view() as view:
        assert list(view.rows.scan(tables.APPEND_RESULTS)) == []
    log.check()


def test_results_of_ended_sessions_are_swept_from_files_that_are_sealed_no_more(
    monkeypatch,
) -> None:
    """Else each log of a run long ago keeps a window of results for ever."""
    log = Log()
    log.append((5, 1, 1), (6, 1, 1), (7, 1, 1))
    for session in (5, 7):
        log.ok(CloseSession(), session)
    swept = SweepResults((log.inode_id, InodeId(99)))
    monkeypatch.setattr(append_results, "_SWEPT_MAX", 1)
    for appenders in ([6, 7], [6], [6]):
        log.ok(swept)
        log.check()
        with log.view() as view:
            file = tail_reads.append_file(view, log.inode_id)
        assert [appender for appender, _ in file.uses] == appenders
    assert log.known(6, 1).results
    log.ok(CloseSession(), 6)
    log.ok(swept)
    log.check()
    with log.view() as view:
        assert list(view.rows.scan(tables.APPEND_RESULTS)) == []


def test_a_seal_may_bring_more_appenders_than_a_file_remembers(monkeypatch) -> None:
    monkeypatch.setattr(append_results, "APPENDERS_PER_FILE_MAX", 2)
    log = Log()
    log.append((3, 1, 1), (4, 1, 1), (5, 1, 1))
    assert log.known(3, 1).expired
    assert log.known(4, 1).results and log.known(5, 1).results
    log.check()


def test_who_appended_before_a_put_over_the_file_is_still_told_so() -> None:
    log = Log()
    log.append((5, 1, 1))
    log.file(log.session, "/log")
    assert log.known(5, 1).results == (AppendResult(1, 0, 10),)
    log.check()


def test_results_go_with_their_file_in_bounded_steps() -> None:
    log = Log()
    log.append(*[(appender, 1, 1) for appender in range(1, 301)])
    log.append((5, 2, 1))
    other = log.file(log.session, "/other")
    log.ok(Rename("/other", "/log"), log.session)
    log.elapsed_ms += GONE_RESULTS_MS
    log.ok(ReapStep(32))
    steps = 0
    while log.reapable():
        log.check()
        log.ok(ReapStep(40))
        steps += 1
    assert steps > 5
    assert log.known(5, 1) == RecordsKnown(expired=True)
    with log.view() as view:
        assert list(view.rows.scan(tables.APPEND_RESULTS)) == []
        assert view.counters().append_files == 0
        assert view.resolve("/log").inode_id == other
    log.check()


def test_a_removed_tree_takes_the_results_of_its_files_along() -> None:
    log = Log()
    log.append((5, 1, 1))
    log.file(log.session, "/d/e/x")
    log.ok(Rename("/log", "/d/e/log"), log.session)
    log.ok(Remove("/d", recursive=True), log.session)
    log.check()
    for _ in range(2):
        while log.reapable():
            log.ok(ReapStep(32))
            log.check()
        log.elapsed_ms += GONE_RESULTS_MS
        log.ok(ReapStep(32))
    assert log.known(5, 1) == RecordsKnown(expired=True)
    with log.view() as view:
        assert list(view.rows.scan(tables.APPEND_RESULTS)) == []


def test_what_became_of_a_record_is_told_after_its_file_is_gone_for_a_while() -> None:
    """Else the records that were on their way when a log was removed have an unknown outcome."""
    log = Log()
    log.append((5, 1, 1), (6, 1, 1))
    log.ok(Remove("/log"), log.session)
    assert log.known(5, 1, 2) == RecordsKnown((AppendResult(1, 0, 10),), 1, False)
    assert log.known(8, 1) == RecordsKnown(), "it was never in the file"
    log.elapsed_ms += GONE_RESULTS_MS - 3
    log.ok(ReapStep(32))
    log.check()
    assert log.known(5, 1).results
    log.elapsed_ms += 3
    log.ok(ReapStep(32))
    log.check()
    assert log.known(5, 1) == log.known(8, 1) == RecordsKnown(expired=True)


def test_a_file_whose_only_tail_was_sealed_empty_tells_that_no_record_is_in_it() -> None:
    log = Log()
    log.seal(log.tail("/log"), 0)
    log.ok(Remove("/log"), log.session)
    assert log.known(5, 1) == RecordsKnown()
    log.check()


def test_of_many_files_that_are_gone_those_gone_longest_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(append_results, "GONE_FILES_MAX", 2)
    log = Log()
    gone = []
    for _ in range(3):
        log.append((5, 1, 1))
        gone.append(log.inode_id)
        log.ok(Remove("/log"), log.session)
        log.inode_id = log.file(log.session)
        log.check()
    for log.inode_id, kept in zip(gone, (False, True, True), strict=True):
        assert log.known(5, 1) == (
            RecordsKnown((AppendResult(1, 0, 10),), 1) if kept else RecordsKnown(expired=True)
        )
    while log.reapable():
        log.ok(ReapStep(32))
        log.check()


def test_the_fullest_seal_is_one_bounded_command() -> None:
    """As many appenders as a tail takes, each of them new to a file that is full of others."""
    log = Log()
    for begin in range(0, APPENDERS_PER_FILE_MAX, TAIL_APPENDERS_MAX):
        end = min(begin + TAIL_APPENDERS_MAX, APPENDERS_PER_FILE_MAX)
        log.append(*[(1 + appender, 1, 1) for appender in range(begin, end)])
    share = TAIL_RESULTS_MAX // TAIL_APPENDERS_MAX
    records = [
        (5_000 + appender, (1 << 40) + sequence, 1 << 40)
        for appender in range(TAIL_APPENDERS_MAX)
        for sequence in range(share)
    ]
    log.append(*records)
    assert len(log.log[-1][2]) < COMMAND_BYTES_MAX
    with log.view() as view:
        file = tail_reads.append_file(view, InodeId(log.inode_id))
    assert len(file.uses) == APPENDERS_PER_FILE_MAX
    assert file.horizon == TAIL_APPENDERS_MAX
    assert 2 * TAIL_APPENDERS_MAX < ROWS_PER_COMMAND_MAX
    log.check()
