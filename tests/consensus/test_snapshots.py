"""A snapshot brings back who lacks what the log does not hold any more, and nothing else (M7)."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from raft_lab import OurLab

from gfs_ha.checksum import crc32c
from gfs_ha.errors import CorruptData, DiskFailed, DiskFull, ProtocolError
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV, OrderedKV, Table
from gfs_ha.kv.places import staged
from gfs_ha.master.raft.export import Export, install_staged, stage_rows
from gfs_ha.master.raft.identity import META, SEEN, STARTS
from gfs_ha.master.raft.members import (
    NOBODY,
    AddLearner,
    Addresses,
    AdmitMember,
    RemoveMember,
    encode_configuration,
)
from gfs_ha.master.raft.messages import (
    OfferSnapshot,
    SnapshotChunk,
    SnapshotStored,
    decode,
    encode,
)
from gfs_ha.sim.guards import GUARDS

STATE = Table("state", "state")
STAGED = Table("state", staged("state"))


class ShortLog(OurLab):
    log_bytes_max = 4000
    spares = "D"


@pytest.fixture
def lab(tmp_path: Path) -> ShortLog:
    made = ShortLog("ABCD", tmp_path)
    made.elect("A", "ABC")
    return made


def write(lab: OurLab, count: int, only: str, leader: str = "A") -> None:
    for number in range(count):
        lab.propose(leader, f"value {number} of {len(lab.applied(leader))}")
        if number % 10 == 0:
            lab.run(0.1, only)
    lab.run(1.0, only)


def leave_behind(lab: OurLab, name: str = "C") -> None:
    """Have a member miss more than the log holds."""
    lab.isolate(name)
    write(lab, 200, "ABC".replace(name, ""))
    assert lab.nodes["A"].status().first > lab.nodes[name].status().last


def words(lab: OurLab, source: str, target: str, kind: type) -> list[Any]:
    found = [decode(message) for message in lab.wire[source, target]]
    return [word for word in found if isinstance(word, kind)]


def until(lab: OurLab, reached: Callable[[], object], only: str = "ABCD") -> None:
    for _ in range(2000):
        if reached():
            return
        lab.run(0.02, only)
    raise AssertionError("it does not come to that")


def rows_of(kv: OrderedKV, table: Table) -> list[tuple[bytes, bytes]]:
    with kv.read() as reader:
        return list(reader.scan(table))


@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 20])
def test_chunks_hold_every_row_and_are_the_same_whenever_they_are_cut(
    chunk_bytes: int, tmp_path: Path
) -> None:
    databases = ("one", "empty", "two")
    stores = [LmdbKV(tmp_path, (*databases, "meta"), 1 << 24), MemoryKV()]
    for kv in stores:
        writer = kv.begin()
        for number in range(40):
            writer.put(Table("", "one"), b"%03d" % number, b"v" * number)
            writer.put(Table("", "two"), b"k%d" % number, b"")
        writer.commit()
        export = Export(kv.freeze(), 1, databases, NOBODY, chunk_bytes)
        chunks = []
        last = False
        while not last:
            rows, last = export.chunk(len(chunks))
            chunks.append(rows)
        assert [export.chunk(number)[0] for number in range(len(chunks))] == chunks
        target = MemoryKV()
        writer = target.begin()
        writer.put(Table("", "one"), b"old", b"row")
        for chunk in chunks:
            stage_rows(writer, databases, chunk)
        install_staged(writer, databases)
        writer.commit()
        for name in databases:
            assert rows_of(target, Table("", name)) == rows_of(kv, Table("", name))
        export.close()
        kv.close()
    assert not (tmp_path / "frozen").exists()


def test_rows_that_are_none_are_refused() -> None:
    writer = MemoryKV().begin()
    with pytest.raises(CorruptData):
        stage_rows(writer, ("one",), b"\xc1")
    with pytest.raises(CorruptData, match="database 1"):
        stage_rows(writer, ("one",), msgspec.msgpack.encode([(1, [(b"key", b"value")])]))


def test_a_frozen_store_shows_its_moment_while_the_store_goes_on(tmp_path: Path) -> None:
    kv = LmdbKV(tmp_path, ("state",), 1 << 24)
    frozen = kv.freeze()
    writer = kv.begin()
    writer.put(STATE, b"k", b"later")
    writer.commit()
    with frozen.read() as reader:
        assert reader.get(STATE, b"k") is None
    # A crash leaves the copy; the next start removes it.
    kv.close()
    assert (tmp_path / "frozen").is_dir()
    LmdbKV(tmp_path, ("state",), 1 << 24).close()
    assert not (tmp_path / "frozen").exists()
    frozen.close()


def test_a_store_that_is_closed_ends_a_copy_first(tmp_path: Path) -> None:
    kv = LmdbKV(tmp_path, ("state",), 1 << 26)
    writer = kv.begin()
    for number in range(200):
        writer.put(STATE, b"%d" % number, b"v" * 100_000)
    writer.commit()
    ended: list[object] = []

    def copy() -> None:
        try:
            ended.append(kv.freeze())
        except DiskFailed as error:
            ended.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    kv.close()
    thread.join(30.0)
    (end,) = ended
    if isinstance(end, DiskFailed):
        assert "closed" in end.message and not (tmp_path / "frozen").exists()
    else:
        end.close()  # type: ignore[attr-defined]  # It was quicker.


def test_a_copy_for_a_new_member_is_made_when_it_can_show_it(
    lab: ShortLog, caplog: pytest.LogCaptureFixture
) -> None:
    write(lab, 200, "ABC")
    with caplog.at_level(logging.INFO, "gfs_ha.master.raft.snapshots"):
        lab.change("A", AddLearner("D", Addresses(("D", 1))))
        lab.run(0.2, "AD")  # It asks before the others have heard of it: it is no member yet.
        until(lab, lambda: lab.applied("D") == lab.applied("A"))
    ready = [line for line in caplog.messages if line.startswith("a snapshot is ready")]
    assert len(ready) == 1, "a copy from before would be made in vain"


def test_who_was_away_too_long_is_brought_back_and_can_lead(lab: ShortLog) -> None:
    leave_behind(lab)
    lab.rejoin("C")
    until(lab, lambda: lab.applied("C") == lab.applied("A"))
    assert lab.nodes["C"].status().too_far_behind is None
    write(lab, 20, "ABC")
    lab.kill("A")
    lab.elect("C", "BC")
    assert len(lab.applied("C")) == 220


def test_only_replicated_rows_are_installed(lab: ShortLog) -> None:
    leave_behind(lab)
    disk = lab.disks["C"]
    own = {table.name: rows_of(disk, table) for table in (STARTS, SEEN)}
    with disk.read() as reader:
        identity = reader.get(META, b"identity")
    term = lab.term("C")
    lab.rejoin("C")
    until(lab, lambda: lab.applied("C") == lab.applied("A"))
    assert own == {table.name: rows_of(disk, table) for table in (STARTS, SEEN)}
    with disk.read() as reader:
        assert reader.get(META, b"identity") == identity
    assert lab.term("C") >= term
    assert rows_of(disk, STAGED) == [], "the chunks are gone"


def test_a_new_member_on_an_empty_disk_becomes_a_voter_for_one_that_is_dead(lab: ShortLog) -> None:
    write(lab, 200, "ABC")
    lab.kill("C")
    assert lab.nodes["A"].status().first > 100
    for change in (
        AddLearner("D", Addresses(("D", 1))),
        AdmitMember("D"),
        RemoveMember("C"),
    ):
        ended = lab.change("A", change)
        until(lab, lambda ended=ended: ended, "ABD")
        assert ended[0].error is None
        until(lab, lambda: lab.applied("D") == lab.applied("A"), "ABD")
        lab.run(0.3, "ABD")
    assert lab.voters("D") == "ABD"
    lab.kill("A")
    lab.elect("D", "BD")
    lab.propose("D", "after")
    lab.run(0.5, "BD")
    assert lab.outcome("after") == "applied"


def test_a_broken_transfer_goes_on_where_it_was(lab: ShortLog) -> None:
    leave_behind(lab)
    lab.rejoin("C")
    stored = itertools.count(1)
    seen: list[SnapshotChunk] = []
    for _ in range(400):
        lab.run(0.02, "AB")
        chunks = words(lab, "A", "C", SnapshotChunk)
        seen += chunks
        lab.deliver("A", "C")
        if "C" in lab.nodes:
            lab.tick("C")
        if chunks and next(stored) % 3 == 0:
            lab.power_cut("C")
            lab.isolate("D")
        lab.deliver("C", "A")
        if lab.applied("C") == lab.applied("A"):
            break
    assert lab.applied("C") == lab.applied("A")
    positions = [chunk.position for chunk in seen]
    assert positions.count(0) <= 2 and max(positions) > 20
    assert len({chunk.number for chunk in seen}) == 1


def test_a_crash_at_any_moment_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    found = set()
    for ticks in range(1, 60, 4):
        lab = ShortLog("ABCD", tmp_path)
        lab.elect("A", "ABC")
        leave_behind(lab)
        lab.rejoin("C")
        until(lab, lambda lab=lab: words(lab, "A", "C", OfferSnapshot))
        lab.run(0.02 * ticks)
        lab.power_cut("C")
        found.add(len(lab.applied("C")))
        assert lab.applied("C") in ([], lab.applied("A"))
        until(lab, lambda lab=lab: lab.applied("C") == lab.applied("A"))
    assert found == {0, 200}


def test_another_leader_begins_anew_and_nothing_is_mixed(lab: ShortLog) -> None:
    leave_behind(lab)
    lab.rejoin("C")
    until(lab, lambda: len(rows_of(lab.disks["C"], STAGED)) > 3)
    assert lab.applied("C") != lab.applied("A")
    lab.isolate("A")
    lab.elect("B", "BC")
    write(lab, 30, "BC", "B")
    until(lab, lambda: lab.applied("C") == lab.applied("B"), "BC")
    assert len(lab.applied("C")) >= 230 and rows_of(lab.disks["C"], STAGED) == []


@pytest.mark.parametrize("lost", [False, True])
def test_what_two_send_that_lead_by_turns_comes_to_its_end(lab: ShortLog, lost: bool) -> None:
    configuration = encode_configuration(lab.nodes["A"].replica.configuration)
    rows = msgspec.msgpack.encode([(0, [(b"key", b"value")])])
    term = lab.term("A")

    def offered(leader: str, number: int, term: int) -> list[int]:
        """Return which chunks of a snapshot are there, as the member answers an offer of it."""
        lab.take("C", leader)
        lab.give(leader, "C", [encode(OfferSnapshot(term, number, 500, 1, configuration))])
        lab.tick("C")
        return [word.stored for word in words(lab, "C", leader, SnapshotStored)]

    assert offered("A", 7, term) == [0]
    for position in range(3):
        chunk = SnapshotChunk(term, 7, position, False, crc32c(rows), rows)
        lab.give("A", "C", [encode(chunk)])
        lab.pass_time(0.5)
        lab.tick("C")
    assert offered("B", 8, term + 1) == [], "its own is offered again: A may come back"
    assert offered("A", 7, term + 2) == [3], "and goes on where it was"
    if lost:
        assert offered("A", 9, term + 2) == [0], "A has the one before no more"
    else:
        lab.pass_time(2.5)
        assert offered("B", 8, term + 3) == [0], "A was waited for long enough"
    assert rows_of(lab.disks["C"], STAGED) == []


def test_a_damaged_chunk_is_never_stored(lab: ShortLog) -> None:
    leave_behind(lab)
    lab.rejoin("C")
    until(lab, lambda: words(lab, "A", "C", SnapshotChunk))
    bad = encode(SnapshotChunk(lab.term("A"), 1, 0, True, 7, b"rows"))
    offer = encode(OfferSnapshot(lab.term("A"), 1, 500, 1, b"\x02\x01\x92\x80\x80"))
    lab.take("A", "C")
    lab.give("A", "C", [offer])
    with pytest.raises(ProtocolError, match="damaged"):
        lab.give("A", "C", [bad])


def test_a_snapshot_older_than_the_own_state_is_not_installed(lab: ShortLog) -> None:
    write(lab, 20, "ABC")
    state = lab.applied("C")
    offer = OfferSnapshot(lab.term("A"), 1, 5, 1, b"\x02\x01\x92\x80\x80")
    lab.give("A", "C", [encode(offer)])
    lab.tick("C")
    (answer,) = words(lab, "C", "A", SnapshotStored)
    assert answer.installed and lab.applied("C") == state


def test_a_snapshot_that_the_log_overtakes_leaves_nothing_behind(lab: ShortLog) -> None:
    write(lab, 20, "ABC")
    leads, (index, term) = lab.term("A"), lab.log("C")[-1]
    configuration = encode_configuration(lab.nodes["A"].replica.configuration)
    rows = msgspec.msgpack.encode([(0, [(b"key", b"value")])])
    lab.give("A", "C", [encode(OfferSnapshot(leads, 7, index + 3, term, configuration))])
    lab.give("A", "C", [encode(SnapshotChunk(leads, 7, 0, False, crc32c(rows), rows))])
    lab.tick("C")
    assert len(rows_of(lab.disks["C"], STAGED)) == 1
    write(lab, 10, "ABC")
    assert rows_of(lab.disks["C"], STAGED) == []
    # Its end comes late: the newer state stays.
    lab.give("A", "C", [encode(SnapshotChunk(leads, 7, 1, True, crc32c(rows), rows))])
    lab.run(0.5, "ABC")
    assert lab.applied("C") == lab.applied("A") and len(lab.applied("C")) == 30


def keeps_what_follows(lab: OurLab) -> bool:
    """Entries beyond the snapshot may be the second copy of committed ones."""
    lab.elect("A", "ABC")
    lab.propose("A", "first")
    lab.run(0.5)
    applied = lab.nodes["C"].status().applied
    lab.isolate("B")
    for number in range(5):
        lab.propose("A", f"{number}")
    lab.tick("A")
    lab.deliver("A", "C")
    lab.tick("C")
    log = lab.log("C")
    assert log[-1][0] == applied + 5
    point, term = log[-3]
    leads = lab.term("A")
    configuration = encode_configuration(lab.nodes["A"].replica.configuration)
    rows = msgspec.msgpack.encode([])
    lab.give("A", "C", [encode(OfferSnapshot(leads, 7, point, term, configuration))])
    lab.give("A", "C", [encode(SnapshotChunk(leads, 7, 0, True, crc32c(rows), rows))])
    lab.tick("C")
    assert lab.nodes["C"].replica.commit_index >= point
    lab.power_cut("C")
    return lab.log("C")[-2:] == log[-2:]


def test_entries_that_follow_on_the_snapshot_are_kept(tmp_path: Path) -> None:
    assert keeps_what_follows(ShortLog("ABCD", tmp_path))
    guard = GUARDS["snapshot-keeps-what-follows"]
    assert not keeps_what_follows(type("Bare", (ShortLog,), {"node_type": guard})("ABCD", tmp_path))


def test_a_log_that_differs_at_the_snapshot_is_forgotten(lab: ShortLog) -> None:
    leave_behind(lab)
    lab.propose("C", "never")
    lab.rejoin("C")
    until(lab, lambda: lab.applied("C") == lab.applied("A"))
    assert lab.nodes["C"].status().first > 100


def test_a_copy_that_cannot_be_made_is_tried_again(
    lab: ShortLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: MemoryKV) -> MemoryKV:
        raise DiskFull("no room for the copy")

    leave_behind(lab)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryKV, "freeze", full)
        lab.rejoin("C")
        lab.run(2.0)
        assert lab.nodes["C"].status().too_far_behind is not None and lab.leads("A")
    lab.run(12.0)
    assert lab.applied("C") == lab.applied("A")
