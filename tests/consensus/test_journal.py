"""The log in the store: what is committed comes back, what is not is gone, memory stays bounded."""

from __future__ import annotations

import random

import pytest

from gfs_ha.errors import CorruptData
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.master.raft.identity import LOG
from gfs_ha.master.raft.journal import Journal, LogEntry, stored_applied


def commit(journal: Journal, kv: MemoryKV) -> None:
    writer = kv.begin()
    journal.write(writer)
    writer.commit()
    journal.committed()


def all_entries(journal: Journal) -> list[LogEntry]:
    found = journal[0:]
    assert isinstance(found, list)
    return found


def filled(kv: MemoryKV, count: int, memory_bytes_max: int = 1 << 20) -> Journal:
    journal = Journal(kv, memory_bytes_max)
    for index in range(2, count + 2):
        journal.add(b"\x00" + b"%d" % index, index, index // 10)
    commit(journal, kv)
    return journal


def test_a_new_log_begins_with_the_same_entry_everywhere() -> None:
    journal = Journal(MemoryKV())
    assert all_entries(journal) == [(b"\x01", 1, 0)]
    assert (journal.durable_index, journal.applied_index) == (0, 1)


def test_what_was_committed_comes_back_and_nothing_else() -> None:
    kv = MemoryKV()
    journal = filled(kv, 20)
    journal.setCurrentTerm(7, "m2")
    commit(journal, kv)
    journal.add(b"\x00lost", 22, 9)
    journal.setCurrentTerm(8, "m3")
    again = Journal(kv.crash())
    assert all_entries(again) == all_entries(journal)[:-1]
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (7, "m2")
    assert again.log_bytes == sum(48 + len(entry[0]) for entry in all_entries(again))


def test_the_applied_index_is_visible_with_the_commit() -> None:
    kv = MemoryKV()
    journal = filled(kv, 5)
    journal.note_applied(2, 0)
    with kv.read() as reader:
        assert stored_applied(reader) == 1
    assert (journal.applied_index, journal.stored_applied_index) == (2, 1)
    commit(journal, kv)
    with kv.read() as reader:
        assert stored_applied(reader) == 2
    assert Journal(kv.crash()).applied_index == 2


def test_a_truncated_entry_is_not_durable_until_it_is_written_again() -> None:
    kv = MemoryKV()
    journal = filled(kv, 9)
    assert journal.durable_index == 10
    journal.truncate_from(6)
    journal.add(b"\x00new", 6, 5)
    assert (journal.last_index, journal.durable_index) == (6, 5)
    commit(journal, kv)
    assert journal.durable_index == 6
    assert all_entries(Journal(kv.crash())) == all_entries(journal)


def test_only_the_newest_entries_stay_in_memory() -> None:
    kv = MemoryKV()
    journal = filled(kv, 1000, memory_bytes_max=5000)
    assert journal._tail_bytes <= 5000
    assert all_entries(journal) == all_entries(Journal(kv))
    assert journal.entries(500, 3, 1 << 20) == [
        (b"\x00%d" % index, index, index // 10) for index in (500, 501, 502)
    ]
    assert len(journal.entries(500, 100, 12)) == 3  # Bounded in bytes, and at least one.
    assert len(journal.entries(500, 100, 1)) == 1


def test_a_prefix_is_dropped_and_the_first_entry_stays() -> None:
    kv = MemoryKV()
    journal = filled(kv, 100)
    before = journal.log_bytes
    for index in range(2, 52):
        journal.note_applied(index, 0)
    commit(journal, kv)
    journal.drop_before(51)
    commit(journal, kv)
    assert (journal.first_index, journal.last_index, len(journal)) == (51, 101, 51)
    assert journal.term_at(51) == 5
    assert journal.log_bytes < before
    with kv.read() as reader:
        assert sum(1 for _ in reader.scan(LOG)) == 51


def test_a_hole_in_the_log_is_found() -> None:
    kv = MemoryKV()
    filled(kv, 20)
    writer = kv.begin()
    writer.delete(LOG, (10).to_bytes(8, "big"))
    writer.commit()
    with pytest.raises(CorruptData, match="hole"):
        Journal(kv)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_changes_agrees_with_a_list(seed: int) -> None:
    chance = random.Random(seed)
    kv = MemoryKV()
    journal = Journal(kv, memory_bytes_max=chance.choice([100, 600, 1 << 20]))
    model: list[LogEntry] = [(b"\x01", 1, 0)]
    durable = list[LogEntry]()
    for step in range(400):
        action = chance.random()
        if action < 0.5:
            index = model[-1][1] + 1
            model.append((b"\x00" * chance.randrange(1, 30), index, step))
            journal.add(*model[-1])
        elif action < 0.6 and model[-1][1] > journal.applied_index:
            index = chance.randrange(journal.applied_index + 1, model[-1][1] + 1)
            journal.truncate_from(index)
            del model[index - model[0][1] :]
        elif action < 0.65 and durable:
            index = chance.randrange(model[0][1], journal.stored_applied_index + 1)
            journal.drop_before(index)
            del model[: index - model[0][1]]
        elif action < 0.75 and journal.applied_index < journal.durable_index:
            journal.note_applied(journal.applied_index + 1, 0)
        elif action < 0.9:
            commit(journal, kv)
            durable = list(model)
            if chance.random() < 0.2:
                journal = Journal(kv.crash(), memory_bytes_max=300)
                kv = journal._kv  # type: ignore[assignment]
        assert all_entries(journal) == model
        assert journal.log_bytes == sum(48 + len(entry[0]) for entry in model)
    assert all_entries(Journal(kv.crash())) == durable
