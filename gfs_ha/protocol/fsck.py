"""What `admin fsck` asks the leader, page by page, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.damage import BLOCKED, CORRUPT, MISSING, ORPHAN, SHORT, UNDER

# Kinds of finding beyond those of damage.py; docs/operations.md defines all of them for people.
BROKEN = "broken"  # Tables disagree: a hole, a length, a reference that is not mirrored.
UNREFERENCED = "unreferenced"  # A chunk lives that no content, claim or tail needs.
GROWING = "growing"  # A file has an open end that records are appended to.
MISPLACED = "misplaced"  # All copies are there, and lie against the rule of placement.

# How grave a finding is: bytes cannot be read, something is to be mended, or worth knowing only.
LOSS, TROUBLE, NOTE = "loss", "trouble", "note"
SEVERITIES = {
    MISSING: LOSS,
    BROKEN: LOSS,
    UNDER: TROUBLE,
    SHORT: TROUBLE,
    CORRUPT: TROUBLE,
    BLOCKED: TROUBLE,
    ORPHAN: TROUBLE,
    UNREFERENCED: TROUBLE,
    GROWING: NOTE,
    MISPLACED: NOTE,
}
NEXT_STEPS = {
    MISSING: "bring back the servers and disks that had it: gfsctl admin chunks show CHUNK",
    BROKEN: "keep every master's directory, and run gfsctl admin masters verify-state --deep",
    UNDER: "it is copied by itself: gfsctl admin repair status",
    SHORT: "it is dropped by itself: gfsctl admin chunks show CHUNK",
    CORRUPT: "it is made anew by itself: gfsctl admin repair status; look at the server's disk",
    BLOCKED: "bring its servers back; only if they are gone: gfsctl admin chunks seal CHUNK",
    ORPHAN: "it is collected by itself: gfsctl admin gc status",
    UNREFERENCED: "report it with the masters' logs: gfsctl admin chunks show CHUNK",
    GROWING: "nothing is wrong: gfsctl admin leases ls",
    MISPLACED: "it is moved by itself where racks allow: gfsctl admin placement explain CHUNK",
}

SCAN_ROWS_MAX = 2_000  # Names, extents and references that one request may look at.
SCAN_ROWS = 500  # What it does: 4 to 8 ms of the leader's door for small files, 30 at worst.


class FsckFinding(Word, frozen=True):
    """One thing that is not as it should be; bytes of a file, or of a chunk if `path` is empty."""

    kind: str
    severity: str
    path: str
    offset: int  # In the file, or in the chunk.
    length: int
    chunk_id: ChunkId  # 0: none.
    servers: tuple[str, ...]  # Whose replicas are concerned.
    why: str


class ScannedExtent(Word, frozen=True):
    """Bytes of a file in a sealed chunk, for who wants to have them read."""

    path: str
    offset: int
    length: int
    chunk_id: ChunkId


class ScanFiles(Word, frozen=True, tag="scan_files"):
    """-> FilesScanned: what is wrong with files at or below a path, in the order of the names.

    Raises: NotFound, NotADirectory, InvalidArgument.
    """

    path: str
    after: str = ""  # The last name that was looked at; files come and go meanwhile.
    offset: int = -1  # Not negative: go on in that file, from here.
    rows: int = SCAN_ROWS
    extents: bool = False  # Return what was looked at, too.


class FilesScanned(Word, frozen=True, tag="files_scanned"):
    """One page; `more` asks for what comes after (after, offset)."""

    findings: tuple[FsckFinding, ...]
    files: int
    directories: int
    length: int  # Bytes of what was looked at.
    after: str
    offset: int
    more: bool
    extents: tuple[ScannedExtent, ...] = ()


class ScanChunks(Word, frozen=True, tag="scan_chunks"):
    """-> ChunksScanned: what is wrong with chunks by themselves, and with the way back to files."""

    after: ChunkId = ChunkId(0)
    inside: tuple[int, int, int] = (0, 0, 0)  # Go on in chunk `after`: a reference's key, not 0.
    rows: int = SCAN_ROWS


class ChunksScanned(Word, frozen=True, tag="chunks_scanned"):
    """One page; `collecting` are dead chunks whose replicas are being deleted."""

    findings: tuple[FsckFinding, ...]
    chunks: int
    replicas: int
    collecting: int
    after: ChunkId
    inside: tuple[int, int, int]
    more: bool


FsckRequest = ScanFiles | ScanChunks
FsckReply = FilesScanned | ChunksScanned
