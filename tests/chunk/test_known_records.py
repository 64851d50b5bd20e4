"""Which records of a tail may still be asked about: never more than a seal may bring along."""

from __future__ import annotations

import random

import pytest

from gfs_ha.chunk.appends import known_records
from gfs_ha.chunk.appends.known_records import NOWHERE, Arrival, KnownRecords, Landed
from gfs_ha.chunk.slots.entries import Batch, records_within
from gfs_ha.errors import ProtocolError
from gfs_ha.ids import SessionId
from gfs_ha.protocol.records import RecordEntry, RecordHeader, pack_entries, unpack_entries


def arrival(sequence: int, window_start: int = 1, appender: int = 5) -> Arrival[str]:
    head = RecordHeader(SessionId(appender), sequence, window_start, 10, 99)
    return Arrival(head, b"0123456789", ["stream"])


def taken(known: KnownRecords[str], one: Arrival[str]) -> bool:
    known.add(one)
    return known.admit(one)


def test_a_record_is_under_way_and_then_lies_somewhere() -> None:
    known: KnownRecords[str] = KnownRecords()
    one = arrival(1)
    assert known.find(one.head) is None
    assert taken(known, one)
    assert known.find(one.head) is one
    known.land(one.head, 70)
    assert known.find(one.head) == Landed(70, 10)


@pytest.mark.parametrize("landed", [False, True])
def test_other_bytes_under_the_same_name_are_refused(landed: bool) -> None:
    known: KnownRecords[str] = KnownRecords()
    one = arrival(1)
    taken(known, one)
    if landed:
        known.land(one.head, 0)
    with pytest.raises(ProtocolError):
        known.find(RecordHeader(one.head.appender, 1, 1, 11, 99))
    if not landed:
        with pytest.raises(ProtocolError):
            known.find(RecordHeader(one.head.appender, 1, 1, 10, 98))


def test_a_record_below_the_window_is_done_and_forgotten() -> None:
    known: KnownRecords[str] = KnownRecords()
    for sequence in (1, 2):
        taken(known, arrival(sequence))
        known.land(arrival(sequence).head, 10 * sequence)
    taken(known, arrival(3, window_start=2))
    assert known.find(arrival(1).head) == Landed(NOWHERE, 10)
    assert known.find(arrival(2).head) == Landed(20, 10)


def test_a_window_that_jumps_far_costs_no_walk_over_the_gap() -> None:
    known: KnownRecords[str] = KnownRecords()
    taken(known, arrival(1))
    assert taken(known, arrival(1 << 60, window_start=1 << 60))
    assert known.find(arrival(1).head) == Landed(NOWHERE, 10)


def test_a_tail_holds_so_many_appenders_results_and_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_records, "TAIL_APPENDERS_MAX", 2)
    monkeypatch.setattr(known_records, "TAIL_RESULTS_MAX", 3)
    monkeypatch.setattr(known_records, "TAIL_RECORDS_MAX", 5)
    known: KnownRecords[str] = KnownRecords()
    assert taken(known, arrival(1, appender=1))
    assert taken(known, arrival(1, appender=2))
    assert not taken(known, arrival(1, appender=3))
    assert taken(known, arrival(2, appender=1))
    assert not taken(known, arrival(3, appender=1))
    known = KnownRecords()
    for sequence in range(1, 6):
        assert taken(known, arrival(sequence, window_start=sequence))
    assert not taken(known, arrival(6, window_start=6))


@pytest.mark.parametrize("seed", range(30))
def test_no_prefix_of_the_batches_retains_more_than_the_limit(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 6
    monkeypatch.setattr(known_records, "TAIL_RESULTS_MAX", limit)
    chance = random.Random(seed)
    known: KnownRecords[str] = KnownRecords()
    entries: list[RecordEntry] = []
    full = False
    while not full and len(entries) < 60:
        # Also what an honest appender never sends: windows that go back and pass what is waiting.
        waiting: list[Arrival[str]] = []
        for _ in range(chance.randint(1, 4)):
            window = chance.randint(1, 12)
            one = arrival(window + chance.randint(0, 6), window, chance.randint(1, 2))
            try:
                if known.find(one.head) is None:
                    known.add(one)
                    waiting.append(one)
            except ProtocolError:
                pass
        for one in waiting:
            before = known.results()
            if not known.admit(one):
                full = True
                assert known.results() == before, "one that is in no batch has changed something"
                break
            head, end = one.head, 10 * len(entries)
            entries.append(RecordEntry(head.appender, head.sequence, head.window_start, end, 10))
            whole = [Batch(10 * len(entries), 0, pack_entries(entries))]
            assert len(records_within(whole, 10 * len(entries))) <= limit
            if chance.random() < 0.7:
                known.land(head, end)


@pytest.mark.parametrize("seed", range(20))
def test_a_primary_knows_the_same_records_as_a_look_at_its_slot(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_records, "TAIL_RESULTS_MAX", 8)
    chance = random.Random(seed)
    known: KnownRecords[str] = KnownRecords()
    batches: list[Batch] = []
    end = 0
    for _ in range(30):
        entries: list[RecordEntry] = []
        for _ in range(chance.randint(1, 4)):
            window = chance.randint(1, 12)
            one = arrival(window + chance.randint(0, 6), window, chance.randint(1, 3))
            if known.find(one.head) is None and taken(known, one):
                head = one.head
                entry = RecordEntry(head.appender, head.sequence, head.window_start, end, 10)
                entries.append(entry)
                end += 10
        if entries:
            batches.append(Batch(end, 0, pack_entries(entries)))
        for one_entry in entries:
            window, crc = one_entry.window_start, 99
            head = RecordHeader(one_entry.appender, one_entry.sequence, window, 10, crc)
            known.land(head, one_entry.offset)

    def places(records: tuple[RecordEntry, ...]) -> list[tuple[int, int, int]]:
        return [(one.appender, one.sequence, one.offset) for one in records]

    looked_at = records_within(batches, end)
    assert places(known.results()) == places(looked_at)
    newest: dict[int, int] = {}
    for batch in batches:
        for packed in unpack_entries(batch.entries):
            newest[packed.appender] = max(packed.window_start, newest.get(packed.appender, 0))
    assert all(one.window_start == newest[one.appender] for one in known.results())
