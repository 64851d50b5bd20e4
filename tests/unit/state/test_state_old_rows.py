"""Rows and commands that were written before there were tails: they mean what they meant (M1)."""

from __future__ import annotations

import msgspec
import pytest
from state_driver import Driver, small_file

from gfs_ha.ids import LogIndex
from gfs_ha.master.state import tables, tail_reads
from gfs_ha.master.state.commands import CommitSeal, Entry, decode_entry, encode_entry
from gfs_ha.master.state.invariants import check_all
from gfs_ha.protocol.extents import ReplaceContent
from gfs_ha.protocol.metadata import Mkdir, OpenSession, Publish, Remove, Rename
from gfs_ha.protocol.records import RecordEntry

# How many fields each row had.
OLD_FIELDS = {
    tables.COUNTERS: 23,
    tables.INODES: 12,
    tables.CHUNKS: 20,
    tables.SESSIONS: 5,
}


def as_before(table: tables.RowTable, data: bytes) -> bytes:
    """Return the stored bytes of a row as the release before wrote them."""
    fields = msgspec.msgpack.decode(data[1:])
    return data[:1] + msgspec.msgpack.encode(fields[: OLD_FIELDS[table]])


def old_store(driver: Driver) -> None:
    """Rewrite the rows of a state without tails as the release before would have."""
    transaction = driver.kv.begin()
    for table in OLD_FIELDS:
        for key, data in list(transaction.scan(table.table)):
            transaction.put(table.table, key, as_before(table, data))
    for key, _ in list(transaction.scan(tables.EVENTS.table)):
        transaction.delete(tables.EVENTS.table, key)
    transaction.commit()


@pytest.mark.parametrize("table", OLD_FIELDS, ids=lambda table: table.name)
def test_a_row_of_the_release_before_decodes_with_defaults(table: tables.RowTable) -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(Publish((small_file("/d/a", chunk_id, 0, 10),), make_parents=True), session)
    with driver.kv.read() as reader:
        rows = [data for _, data in reader.scan(table.table)]
    for data in rows:
        row, before = table.decode(data), table.decode(as_before(table, data))
        added = row.__struct_fields__[OLD_FIELDS[table] :]
        assert added, "nothing was added"
        for name in row.__struct_fields__:
            value = getattr(before, name)
            assert not value if name in added else value == getattr(row, name)


def test_a_state_of_the_release_before_goes_on_and_its_files_are_appended_to() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(Publish((small_file("/d/e/a", chunk_id, 0, 10),), make_parents=True), session)
    old_store(driver)
    with driver.view() as view:
        assert check_all(view) == []
    tail_id = driver.tail("/d/e/a")
    driver.check()
    driver.ok(Mkdir("/new"), session)
    driver.ok(Rename("/d/e/a", "/new/a"), session)
    assert driver.error(Remove("/new", recursive=True), session) == "Held"
    driver.ok(Remove("/d", recursive=True), session)
    driver.seal(tail_id, 5, RecordEntry(session, 1, 1, 0, 5))
    with driver.view() as view:
        inode_id = view.resolve("/new/a").inode_id
        assert tail_reads.records_known(view, inode_id, session, (1,)).results
    driver.check()


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (CommitSeal(5, LogIndex(1), 10, 3, (1, 2)), 6),
        (OpenSession("cli"), 2),
        (ReplaceContent("/a", 1, 2, 3, 4, 5), 7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_command_of_the_release_before_means_what_it_meant(command, fields: int) -> None:
    payload = encode_entry(Entry(1, 2, command))
    entry = msgspec.msgpack.decode(payload[1:])
    assert len(entry[2]) > fields
    entry[2] = entry[2][:fields]
    assert decode_entry(payload[:1] + msgspec.msgpack.encode(entry)).command == command
