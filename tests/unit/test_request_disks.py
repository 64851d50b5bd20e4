"""The disks in the header of a data request: they arrive, and who does not know them skips them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs_ha.checksum import crc32c
from gfs_ha.errors import ProtocolError
from gfs_ha.ids import ANY_DISK, ChunkId, DiskId, Epoch, ServerId
from gfs_ha.protocol.data import HOPS_MAX, DataRequest, Hop, Op, decode_request, encode_request

U64 = st.integers(0, 2**64 - 1)
DISK = st.one_of(st.just(0), st.integers(1, 2**64 - 1)).map(DiskId)
HOPS = st.lists(
    st.builds(
        Hop,
        U64.map(ServerId),
        st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=40),
        st.integers(1, 2**16 - 1),
        DISK,
    ),
    max_size=HOPS_MAX,
).map(tuple)
LABEL = st.text("abcXYZ019-_.:", max_size=30)
TICKET = st.binary(max_size=64)
_HOP = struct.Struct("<QHB")
_AT_LENGTH, _AT_FIXED, _AT_TICKET, _AT_HOPS = 6, 8, 10, 16


def request(
    hops: tuple[Hop, ...] = (), label: str = "", disk: DiskId = ANY_DISK, ticket: bytes = b""
) -> DataRequest:
    return DataRequest(
        *(Op.PUSH, 5, ServerId(1), ChunkId(7), Epoch(1, 3), 0, 100, 1000, 9),
        hops=hops,
        label=label,
        disk_id=disk,
        ticket=ticket,
        nonce=bytes(16) if ticket else b"",
        proof=bytes(16) if ticket else b"",
    )


def signed(body: bytes) -> bytes:
    """Return a header with its length and CRC put right."""
    whole = body[:_AT_LENGTH] + struct.pack("<H", len(body) + 4) + body[_AT_LENGTH + 2 :]
    return whole + struct.pack("<I", crc32c(whole))


def older_view(header: bytes) -> tuple[list[tuple[int, str, int]], str]:
    """Return hops and label as a server reads them that knows no disks."""
    fixed, ticket = struct.unpack_from("<HH", header, _AT_FIXED)
    at, hops = fixed + ticket, []
    for _ in range(header[_AT_HOPS]):
        server, port, length = _HOP.unpack_from(header, at)
        at += _HOP.size + length
        hops.append((server, header[at - length : at].decode(), port))
    beyond = header[at:-4]
    return hops, beyond[1 : 1 + beyond[0]].decode() if beyond else ""


@given(HOPS, LABEL, DISK, TICKET)
def test_the_disks_of_all_hops_arrive(
    hops: tuple[Hop, ...], label: str, disk: DiskId, ticket: bytes
) -> None:
    sent = request(hops, label, disk, ticket)
    assert decode_request(encode_request(sent)) == sent


@given(HOPS, LABEL, DISK, TICKET)
def test_a_server_that_knows_no_disks_reads_all_the_rest(
    hops: tuple[Hop, ...], label: str, disk: DiskId, ticket: bytes
) -> None:
    found, name = older_view(encode_request(request(hops, label, disk, ticket)))
    assert found == [(one.server_id, one.host, one.port) for one in hops]
    assert name == label


@given(HOPS, LABEL)
def test_a_client_that_names_no_disks_sends_what_it_always_sent(
    hops: tuple[Hop, ...], label: str
) -> None:
    bare = tuple(Hop(one.server_id, one.host, one.port) for one in hops)
    header = encode_request(request(bare, label))
    named = encode_request(request(bare, label, DiskId(1)))
    assert len(named) - len(header) == 8 * (1 + len(hops)) + (not label)
    assert decode_request(header).disk_id == ANY_DISK
    assert all(one.disk_id == ANY_DISK for one in decode_request(header).hops)


@given(HOPS, LABEL, DISK, st.binary(min_size=1, max_size=40))
def test_what_a_later_release_adds_behind_the_disks_is_skipped(
    hops: tuple[Hop, ...], label: str, disk: DiskId, more: bytes
) -> None:
    sent = request(hops, label, disk or DiskId(1))
    assert decode_request(signed(encode_request(sent)[:-4] + more)) == sent


@given(HOPS, LABEL, st.data())
def test_disks_that_are_cut_off_are_refused(
    hops: tuple[Hop, ...], label: str, data: st.DataObject
) -> None:
    header = encode_request(request(hops, label, DiskId(1)))[:-4]
    cut = data.draw(st.integers(1, 8 * (1 + len(hops)) - 1))
    with pytest.raises(ProtocolError, match="disks of a request are cut off"):
        decode_request(signed(header[:-cut]))


@pytest.mark.parametrize("disk_id", [-1, 2**64])
def test_an_id_that_is_none_is_refused_before_it_leaves(disk_id: int) -> None:
    with pytest.raises(ProtocolError, match="id of a disk"):
        encode_request(request(disk=DiskId(disk_id)))
    with pytest.raises(ProtocolError, match="id of a disk"):
        encode_request(request(hops=(Hop(ServerId(1), "h", 1, DiskId(disk_id)),)))
