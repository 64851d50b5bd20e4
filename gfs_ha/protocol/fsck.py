"""What `admin fsck` asks the leader, page by page, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.damage import BLOCKED, CORRUPT, MISSING, ORPHAN, SHORT, UNDER

# Kinds of finding beyond those of damage.py; docs/operations.md defines all of them for people.
BROKEN = "broken"  # Tables disagree: a hole, a length, a reference that is not mirrored.
UNREFERENCED = "unreferenced"  # A chunk lives that no content, claim or tail needs.
GROWING = "growing"  # A file has an open end that records are appended to.
MISPLACED = "misplaced"  # All copies are there, and lie against the rule of placement.
TALLY = "tally"  # What a server says is sealed on a disk is for long not what the tables say.
UNREAD = "unread"  # A copy that was to be read from its disk, and could not be.
UNCOUNTED = "uncounted"  # A disk whose tally the leader has not compared with the tables yet.

# How grave a finding is: bytes cannot be read, something is to be mended, nobody could look, or
# worth knowing only.
LOSS, TROUBLE, UNSEEN, NOTE = "loss", "trouble", "unseen", "note"
SEVERITIES = {
    MISSING: LOSS,
    BROKEN: LOSS,
    UNDER: TROUBLE,
    SHORT: TROUBLE,
    CORRUPT: TROUBLE,
    BLOCKED: TROUBLE,
    ORPHAN: TROUBLE,
    UNREFERENCED: TROUBLE,
    TALLY: TROUBLE,
    UNREAD: UNSEEN,
    UNCOUNTED: UNSEEN,
    GROWING: NOTE,
    MISPLACED: NOTE,
}
NEXT_STEPS = {
    MISSING: "bring back the servers and disks that had it: gfsctl admin chunks show CHUNK",
    BROKEN: "keep every master's directory, and run gfsctl admin masters verify-state --deep",
    UNDER: "it is copied by itself if a server can take it: gfsctl admin repair status",
    SHORT: "it is dropped by itself: gfsctl admin chunks show CHUNK",
    CORRUPT: "it is made anew by itself: gfsctl admin repair status; look at the server's disk",
    BLOCKED: "bring its servers back; only if they are gone: gfsctl admin chunks seal CHUNK",
    ORPHAN: "it is collected by itself: gfsctl admin gc status",
    UNREFERENCED: "report it with the masters' logs: gfsctl admin chunks show CHUNK",
    TALLY: "the leader asks for it by itself: gfsctl admin chunks ls --short --corrupt --orphan",
    UNREAD: "bring its server back (gfsctl admin chunkservers ls), or let repair end; run it again",
    UNCOUNTED: "run it again in a minute: gfsctl admin chunkservers ls",
    GROWING: "nothing is wrong: gfsctl admin leases ls",
    MISPLACED: "it is moved by itself where racks allow: gfsctl admin placement explain CHUNK",
}

Place = tuple[ServerId, DiskId, ChunkId]

NO_PLACE: Place = (ServerId(0), DiskId(0), ChunkId(0))  # Below every other.

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
    server_id: ServerId = ServerId(0)  # Not 0: about what this server's own table says...
    disk_id: DiskId = DiskId(0)  # ...to lie on this disk.


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


class ScanPlaces(Word, frozen=True, tag="scan_places"):
    """-> PlacesScanned: what servers have by the table of their places, against the chunks."""

    after: Place = NO_PLACE
    rows: int = SCAN_ROWS


class PlacesScanned(Word, frozen=True, tag="places_scanned"):
    """One page; `more` asks for what comes after."""

    findings: tuple[FsckFinding, ...]
    places: int
    after: Place
    more: bool


# How the tally of a disk compares with the tables (G7), as of the leader's newest count of it.
AGREES = "agrees"  # Or differs only by what is under way, which was looked into.
CHANGING = "changing"  # It differs, and has not done so for long: it is looked into by itself.
DIFFERS = "differs"  # In the same buckets, count after count.
NOT_COUNTED = "not counted"  # By this leader, since the server was started.
NOT_TOLD = "not told"  # By its server to this leader.
SILENT = "silent"  # Its server is not live.


class TallyRow(Word, frozen=True):
    """The tally of one disk."""

    server_id: ServerId
    name: str
    disk_id: DiskId
    state: str
    differing: int = 0  # Buckets, of 256.
    differs_ms: int = -1  # For how long one of them has, count after count; -1 = none does.
    counted_ms: int = -1  # How long ago the tables were counted for it; -1 = not yet.


class ScanTallies(Word, frozen=True, tag="scan_tallies"):
    """-> TalliesScanned: how the disks' tallies compare, disks that are lost left out."""

    after: tuple[ServerId, DiskId] = (ServerId(0), DiskId(0))
    rows: int = SCAN_ROWS


class TalliesScanned(Word, frozen=True, tag="tallies_scanned"):
    """One page; `counted` grows with every row that the leader counts: whether it goes on."""

    items: tuple[TallyRow, ...]
    counted: int
    more: bool


FsckRequest = ScanFiles | ScanChunks | ScanPlaces | ScanTallies
FsckReply = FilesScanned | ChunksScanned | PlacesScanned | TalliesScanned
