"""Names, inodes and extents carry the log index at which they were born (F4).

A snapshot will be a root and an index: what was born later is not in it. A wrong index would not
show before that, and could not be mended then.
"""

from __future__ import annotations

from state_driver import Driver, empty_file, small_file

from gfs_ha.master.state import tables
from gfs_ha.protocol.metadata import Extent, Mkdir, Publish, Rename, StageExtents


def born(driver: Driver, path: str) -> tuple[int, int, list[int]]:
    """Return the born index of a name, its inode and its extents."""
    parent, _, name = path.rpartition("/")
    with driver.view() as view:
        directory = view.resolve(parent or "/").inode_id
        dentry = view.rows.get(tables.DENTRIES, tables.dentry_key(directory, name))
        inode = view.inode(dentry.inode_id)
        rows = view.rows.scan(tables.EXTENTS, *tables.below(tables.id_key(inode.content_id)))
        return dentry.born_index, inode.born_index, [row.born_index for _, row in rows]


def test_names_inodes_and_extents_are_born_at_the_index_of_their_command() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(Mkdir("/d"), session)
    assert born(driver, "/d")[:2] == (driver.index, driver.index)
    driver.ok(Publish((small_file("/d/small", chunk_id, 0, 10),)), session)
    small = driver.index
    assert born(driver, "/d/small") == (small, small, [small])
    staged = []
    content_id = 0
    for offset in (0, 10):
        piece = Extent(offset, chunk_id, 10 + offset, 10, 5)
        content_id = driver.ok(StageExtents(content_id, (piece,)), session).content_id
        staged.append(driver.index)
    driver.ok(Publish((empty_file("/big", size=20, content_id=content_id),)), session)
    assert born(driver, "/big") == (driver.index, driver.index, staged)


def test_a_moved_name_is_born_anew_and_its_inode_is_not() -> None:
    driver = Driver()
    session = driver.open_session()
    driver.ok(Publish((empty_file("/a"),)), session)
    made = driver.index
    driver.ok(Rename("/a", "/b"), session)
    assert born(driver, "/b")[:2] == (driver.index, made)


def test_a_replaced_content_is_born_anew_under_the_same_inode() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(Publish((small_file("/a", chunk_id, 0, 10),)), session)
    made = driver.index
    driver.ok(Publish((small_file("/a", chunk_id, 10, 10),)), session)
    assert born(driver, "/a") == (made, made, [driver.index])
