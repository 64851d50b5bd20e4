"""Files copied, joined, cut and overwritten in a real cluster, their bytes read back."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING

import pytest

from gfs_ha.errors import AlreadyExists, InvalidArgument, IsADirectory, NotFound
from gfs_ha.limits import MIB

if TYPE_CHECKING:
    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.ids import ChunkId
    from gfs_ha.protocol.reports import PlacedExtent

pytestmark = pytest.mark.processes

BIG = os.urandom(3 * MIB + 777)  # Four chunks.


def _piece(one: PlacedExtent) -> tuple[int, int, int, ChunkId]:
    return one.file_offset, one.length, one.chunk_offset, one.chunk.chunk_id


def test_copies_hold_the_bytes_also_when_the_source_is_gone(client: Cluster) -> None:
    client.put(io.BytesIO(BIG), "/big")
    client.write_bytes("/small", b"few")
    client.write_bytes("/empty", b"")
    client.set_attributes("/big", mode=0o600, mtime_ns=77)
    client.copy("/big", "/copy", preserve=True)
    for name in ("small", "empty"):
        client.copy(f"/{name}", f"/{name}2")
    client.concat(["/small", "/big", "/small", "/empty"], "/joined")
    with pytest.raises(AlreadyExists):
        client.copy("/small", "/copy", if_absent=True)
    with pytest.raises(NotFound):
        client.copy("/no", "/copy")
    client.mkdir("/d")
    with pytest.raises(IsADirectory):
        client.copy("/small", "/d")
    # The same bytes, not others like them.
    copied, big = (client.operations.placement(path).items for path in ("/copy", "/big"))
    assert [_piece(one) for one in copied] == [_piece(one) for one in big]
    for name in ("big", "small", "empty"):
        client.remove(f"/{name}")
    assert client.read_bytes("/copy") == BIG
    assert client.read_bytes("/small2") == b"few"
    assert client.read_bytes("/empty2") == b""
    assert client.read_bytes("/joined") == b"few" + BIG + b"few"
    status = client.stat("/copy")
    assert (status.mode, status.mtime_ns) == (0o600, 77)


def test_a_file_is_cut_anywhere_and_never_made_longer(client: Cluster) -> None:
    client.put(io.BytesIO(BIG), "/file")
    client.copy("/file", "/whole")
    for size in (3 * MIB + 1, 2 * MIB, MIB + 65_537, 10, 0):
        client.truncate("/file", size)
        assert client.read_bytes("/file") == BIG[:size]
    with pytest.raises(InvalidArgument, match="hole"):
        client.truncate("/file", 1)
    assert client.read_bytes("/whole") == BIG


def test_bytes_are_written_over_others_in_the_middle_and_at_the_end(client: Cluster) -> None:
    model = bytearray(BIG)
    client.put(io.BytesIO(BIG), "/file")
    for offset, data in ((100, b"x" * 10), (MIB - 3, os.urandom(2 * MIB)), (len(BIG), b"more")):
        client.pwrite("/file", offset, data)
        model[offset : offset + len(data)] = data
        assert client.read_bytes("/file") == bytes(model)
    with client.open("/file") as file:
        file.seek(99)
        assert file.read(12) == bytes(model[99:111])
    with pytest.raises(InvalidArgument, match="hole"):
        client.pwrite("/file", len(model) + 1, b"x")


def test_two_writers_of_one_file_never_lose_each_others_bytes(client: Cluster) -> None:
    client.write_bytes("/file", b"." * 400)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(4):
                client.pwrite("/file", 100 * turn + 50 * number, b"%d" % number * 50)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert client.read_bytes("/file") == (b"0" * 50 + b"1" * 50) * 4


def test_a_file_opened_for_changes_reads_what_it_wrote(client: Cluster) -> None:
    client.write_bytes("/file", b"0123456789")
    with client.open("/file", "r+b") as file:
        assert file.read(2) == b"01"
        assert file.write(b"ab") == 2
        assert file.read(2) == b"45"
        assert file.seek(0, os.SEEK_END) == 10
        file.write(b"end")
        file.truncate(12)
        file.seek(0)
        assert file.read() == b"01ab456789en"
    with pytest.raises(NotFound):
        client.open("/none", "r+b")
    with io.BufferedRandom(client.open("/file", "r+b")) as buffered:
        buffered.seek(4)
        for letter in b"wxyz":
            buffered.write(bytes((letter,)))
    assert client.read_bytes("/file") == b"01abwxyz89en"
