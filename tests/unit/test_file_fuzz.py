"""Fuzzing with fixed seeds of what lies in files and is typed by people: read, or refused in words.

Each round changes good bytes, where there is a checksum also so that it fits again. A parser may
find nothing, find less, or say what is wrong; anything else is a mistake of ours.
"""

from __future__ import annotations

import base64
import random
import struct
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from spoiling import Parse, changed, spoil

from gfs_ha import config, contexts
from gfs_ha.checksum import crc32c
from gfs_ha.chunk import epochs, scrub_state
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import read_epoch
from gfs_ha.chunk.journal import frames
from gfs_ha.chunk.slots import entries, format, identity
from gfs_ha.cli.admin.chunks import read_chunk_id
from gfs_ha.cli.admin.simulate import _read_added
from gfs_ha.cli.data.amounts import parse_moment
from gfs_ha.cli.data.checksum_lines import line_of, parse_line
from gfs_ha.cli.spans import read_moment_ns, read_span_ms
from gfs_ha.errors import CorruptData, Denied, DiskFailed, GfsError, ProtocolError, UsageError
from gfs_ha.ids import (
    ChunkId,
    DiskId,
    Epoch,
    LogIndex,
    ServerId,
    SessionId,
    TraceId,
    format_trace,
    parse_trace,
)
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.master.raft import members as raft_members
from gfs_ha.master.raft.export import stage_rows
from gfs_ha.master.state import commands, tables
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import certificates, files, requests
from gfs_ha.pki.authority import parse_serial
from gfs_ha.pki.enrolment import enrol
from gfs_ha.pki.names import PeerName, Role, parse_uri
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.records import RecordEntry, pack_entries, unpack_entries
from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.strict_toml import parse_address, parse_size

SEEDS = range(3)
RUNTIME = ThreadedRuntime()


# What an operator writes --------------------------------------------------------------------------

CONFIG = b"""
security = "none"
[cluster]
id = "c-1"
name = "local"
[[cluster.masters]]
name = "m1"
host = "127.0.0.1"
port = 7301
raft_port = 7302
[chunkserver]
name = "cs1"
listen = "127.0.0.1:7401"
rack = "r1"
[[chunkserver.disks]]
directory = "data"
capacity = "1 GiB"
[metrics]
listen = "[::1]:9701"
[settings]
chunk_size = "64MiB"
goal = 3
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_configurations(seed: int, tmp_path: Path) -> None:
    place = tmp_path / "gfs.toml"

    def parse(data: bytes) -> None:
        place.write_bytes(data)
        config.load(place)

    spoil(seed, [CONFIG], parse, GfsError, rounds=80)


@pytest.mark.parametrize("seed", SEEDS)
def test_contexts(seed: int, tmp_path: Path) -> None:
    place = tmp_path / "gfs-ha/contexts.toml"
    place.parent.mkdir()
    good = b'current = "p"\n[contexts.p]\nconfig = "/etc/gfs.toml"\n[contexts.q]\nconfig = "x"\n'

    def parse(data: bytes) -> None:
        place.write_bytes(data)
        contexts.read_contexts({"XDG_CONFIG_HOME": str(tmp_path)})

    spoil(seed, [good], parse, GfsError, rounds=80)


# Certificates -------------------------------------------------------------------------------------


class Papers:
    """One of each, by the authority of a cluster."""

    def __init__(self, root: Path) -> None:
        now = datetime.now(UTC)
        authorities.create(root / "ca", "c-1", now)
        with authorities.opened(root / "ca") as authority:
            who = PeerName("c-1", Role.MASTER, "m1")
            enrol(authority, who, ["127.0.0.1", "m1.example"], root / "tls", now, 30)
        key = requests.make_key()
        self.request = requests.make_request(key, who, ["127.0.0.1"])
        self.trusted, self.revoked, self.own, self.key = (
            (root / "tls" / name).read_bytes()
            for name in (files.TRUSTED, files.REVOKED, files.CERTIFICATE, files.KEY)
        )
        self.authorities = certificates.load_authorities(self.trusted, "here")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


def spoiled_pem(seed: int, good: bytes, parse: Parse) -> None:
    """Change the text, and the bytes that it stands for."""
    spoil(seed, [good], parse, GfsError)
    words = good.splitlines()
    der = base64.b64decode(b"".join(words[1:-1]))

    def wrapped(data: bytes) -> object:
        text = base64.encodebytes(data)
        return parse(words[0] + b"\n" + text + words[-1] + b"\n")

    spoil(seed, [der], wrapped, GfsError)


@pytest.mark.parametrize("seed", SEEDS)
def test_certificates(seed: int, papers: Papers) -> None:
    key = certificates.load_key(papers.key, "here")

    def own(data: bytes) -> object:
        found = certificates.load_certificate(data, "here")
        return certificates.check_own(found, key, papers.authorities)

    spoiled_pem(seed, papers.own, own)
    spoiled_pem(seed, papers.trusted, lambda data: certificates.load_authorities(data, "here"))
    der = x509.load_pem_x509_certificate(papers.own).public_bytes(Encoding.DER)
    spoil(seed, [der], certificates.describe_der, Denied)


@pytest.mark.parametrize("seed", SEEDS)
def test_lists_keys_and_requests(seed: int, papers: Papers) -> None:
    spoiled_pem(
        seed,
        papers.revoked,
        lambda data: certificates.load_revocations(data, papers.authorities, "here"),
    )
    spoiled_pem(seed, papers.key, lambda data: certificates.load_key(data, "here"))
    spoiled_pem(seed, papers.request, lambda data: requests.read_request(data, "here"))


# What lies on the disks of a chunkserver ----------------------------------------------------------


def mended(data: bytes, at: int) -> bytes:
    """Return bytes with a CRC at `at` that fits what is before it."""
    if len(data) < at + 4:
        return data
    return data[:at] + struct.pack("<I", crc32c(data[:at])) + data[at + 4 :]


def on_disk(name: str, data: bytes) -> MemoryDisk:
    disk = MemoryDisk(RUNTIME)
    file = disk.create(name)
    file.write(0, data)
    file.sync()
    return disk


def either(parse: Parse, at: int, seed: int) -> Parse:
    """Parse half of what comes with a checksum that fits."""
    chance = random.Random(-seed)
    return lambda data: parse(mended(data, at) if chance.random() < 0.5 else data)


@pytest.mark.parametrize("seed", SEEDS)
def test_headers_of_slots(seed: int) -> None:
    header = format.Header(
        *(4, ChunkId(7), Epoch(1, 9), ChunkKind.PUT, Durability.DISK, format.State.OPEN, 1 << 20),
        *(70_000, 70_000, 1, LogIndex(3), LogIndex(5)),
    )
    good = format.encode_header(header, array("I", [1, 2]))

    def parse(data: bytes) -> None:
        copy = format.decode_copy(memoryview(data.ljust(format.COPY_BYTES, b"\0")))
        if copy.table is not None:
            assert copy.header is not None and len(copy.table) == -(-copy.header.end // BLOCK_BYTES)

    spoil(seed, [good], either(parse, 508, seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_journals(seed: int) -> None:
    title = frames.Title(frames.SegmentState.USED, 1, DiskId(1), 5, 100)
    one = frames.Append(ChunkId(7), Epoch(1, 2), 0, 0, 9, b"e" * 36, b"data" * 200)
    page = frames.encode_title(title)
    data = frames.encode_frame(title, 100, 100, one) + frames.encode_frame(title, 101, 100, one)
    segment = page.ljust(frames.PAGE_BYTES, b"\0") + data.ljust(2 * frames.PAGE_BYTES, b"\0")

    def parse(data: bytes) -> None:
        view = memoryview(data)
        found = frames.decode_title(view[: frames.TITLE_BYTES])
        for frame in frames.read_segment(found or title, view).frames:
            assert frame.append == one, "a frame that nobody wrote"

    at = frames.TITLE_BYTES - 4
    spoil(seed, [segment], either(parse, at, seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_entries_of_records(seed: int) -> None:
    packed = pack_entries([RecordEntry(SessionId(3), 1, 1, 0, 100)])
    good = [
        entries.encode_batch(entries.Batch(100, 7, packed)),
        entries.encode_batch(entries.Batch(100, 7, packed * 2))
        + entries.encode_batch(entries.Batch(900, 7, packed)),
    ]
    buffer = memoryview(bytearray(1 << 16))

    def parse(data: bytes) -> None:
        file = on_disk("slot", bytes(format.DATA_OFFSET) + data).open("slot")
        for batch in entries.read_batches(file, 0, 1 << 20, buffer):
            unpack_entries(batch.entries)

    spoil(seed, good, parse)


@pytest.mark.parametrize("seed", SEEDS)
def test_small_files_of_a_disk(seed: int) -> None:
    disk = MemoryDisk(RUNTIME)
    identity.write_identity(disk, identity.Identity("c-1", ServerId(3), DiskId(1), "cs1"))
    scrub_state.ScrubBook(disk).keep(scrub_state.Round())
    epoch = epochs._encode(Epoch(1, 7))

    def content(name: str) -> bytes:
        buffer = memoryview(bytearray(1 << 16))
        return bytes(buffer[: disk.open(name).read(0, buffer)])

    def signed(data: bytes) -> None:
        text = data.rsplit(b"\n", 2)[0]
        for each in (data, text + b"\n%08x\n" % crc32c(text)):
            identity.read_identity(on_disk(identity.IDENTITY_NAME, each))

    spoil(seed, [content(identity.IDENTITY_NAME)], signed, GfsError)
    kept = content(scrub_state.SCRUB_NAME)
    spoil(seed, [kept], lambda data: scrub_state.ScrubBook(on_disk(scrub_state.SCRUB_NAME, data)))
    spoil(seed, [epoch], lambda data: read_epoch(on_disk(epochs.EPOCH_NAME, data)), DiskFailed)


# What lies in the store of a master, and comes from others with a snapshot ------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_entries_of_the_log_and_configurations(seed: int) -> None:
    entry = commands.encode_entry(commands.Entry(1, 2, commands.Mkdir("/a")))
    spoil(seed, [entry], commands.decode_entry, ProtocolError)
    members = raft_members.Configuration({"m1": (("h", 1), ("h", 2))}, {})
    good = raft_members.encode_configuration(members)
    spoil(seed, [good], raft_members.decode_configuration, CorruptData)


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_of_snapshots(seed: int) -> None:
    good = msgspec.msgpack.encode([(0, [(b"key", b"row"), (b"other", b"row")]), (1, [(b"k", b"")])])
    kv = MemoryKV()

    def parse(data: bytes) -> None:
        writer = kv.begin()
        try:
            stage_rows(writer, ("one", "two"), data)
        finally:
            writer.abort()

    spoil(seed, [good], parse, CorruptData)


@pytest.mark.parametrize("seed", SEEDS)
def test_rows(seed: int) -> None:
    all_tables = [one for one in vars(tables).values() if isinstance(one, tables.RowTable)]
    assert len(all_tables) > 20
    chance = random.Random(seed)
    for table in all_tables:
        for _ in range(60):
            data = changed(chance, b"\x01\x9a" + chance.randbytes(chance.randrange(60)))
            try:
                table.decode(data)
            except DiskFailed:
                pass


# What people type ---------------------------------------------------------------------------------

TYPED: list[tuple[Callable[[str], object], tuple[str, ...], tuple[type[Exception], ...]]] = [
    (parse_size, ("64MiB", "1 GiB", "4096"), (ValueError,)),
    (parse_address, ("127.0.0.1:7301", "[::1]:7301", "host:1"), (ValueError,)),
    (read_span_ms, ("90s", "1h30m", "1.5d"), ()),
    (lambda text: read_moment_ns(text, 10**18), ("14:00", "2026-11-25T14:00", "90s"), ()),
    (parse_moment, ("2026-11-25 18:04:11.5", "@1795634651", "202611251804.11"), (ValueError,)),
    (read_chunk_id, ("0x1000000000007", "17"), (UsageError,)),
    (_read_added, ("rack=r1,count=2,size=1TiB", "rack=r1"), (UsageError,)),
    (parse_line, (line_of("0123abcd", "a\nb"), line_of("00000000", "name")), ()),
    (parse_trace, (format_trace(TraceId(0xABC)),), ()),
    (parse_serial, ("0x1234abcd", "ff"), ()),
    (parse_uri, ("gfs://c-1/master/m1",), (Denied,)),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_words_of_the_command_line(seed: int) -> None:
    for parse, good, refused in TYPED:
        words = [one.encode() for one in good]
        spoil(seed, words, lambda data: parse(data.decode("utf-8", "replace")), *refused)  # noqa: B023
        spoil(seed, words, lambda data: parse(data.decode("latin-1")), *refused)  # noqa: B023
