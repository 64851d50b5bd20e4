"""Where the leader is with counting its own tallies of the servers' disks (G7); soft state."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, DiskId, ServerId, StartId
from gfs_ha.protocol.fsck import AGREES, CHANGING, DIFFERS, NOT_COUNTED
from gfs_ha.protocol.tally import BUCKETS, bucket_of, replica_hash

NUMBERS = struct.Struct(f">{BUCKETS}Q")
MEMBERS_MAX = 20_000  # Of the buckets that differed, remembered for their listings.
# A bucket that differs in so many counts, over so long, does not because of what is under way.
STREAK_MIN = 3
STREAK_S = 10.0
_FIRST = ChunkId(0)

Disk = tuple[ServerId, DiskId]
_NO_DISK: Disk = (ServerId(0), DiskId(0))


@dataclass(slots=True)
class TallyWalk:
    """The count of one disk that is under way, and what earlier ones came to.

    Fields:
        suspects: the buckets that differed in the newest count of a disk.
        members: what the tables place in these, by bucket.
        agreed: what a server said when nothing was to be done about it.
        matched: the buckets in which the newest count, or listing, found all that the tables place.
        explained: buckets whose difference was looked at and is over by itself, for what was said.
    """

    disk: Disk | None = None
    last: Disk = _NO_DISK
    after: ChunkId = _FIRST
    suspects: dict[Disk, set[int]] = field(default_factory=dict)
    members: dict[Disk, dict[int, set[ChunkId]]] = field(default_factory=dict)
    agreed: dict[Disk, bytes] = field(default_factory=dict)
    explained: dict[Disk, tuple[bytes, set[int]]] = field(default_factory=dict)
    checked_s: dict[Disk, float] = field(default_factory=dict)
    judged_s: dict[Disk, float] = field(default_factory=dict)  # Since when explanations count.
    starts: dict[ServerId, StartId] = field(default_factory=dict)
    matched: dict[Disk, frozenset[int]] = field(default_factory=dict)
    # Of the newest count of a disk: differing buckets, in how many counts on end, and since when.
    # Never changed, only replaced: reports on another thread look at it.
    streaks: dict[Disk, dict[int, tuple[int, float]]] = field(default_factory=dict)
    counted: int = 0  # Rows, ever.
    _numbers: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    _room: int = MEMBERS_MAX
    _cut: set[Disk] = field(default_factory=set)  # Of which not all members were remembered.

    def note_start(self, server_id: ServerId, start_id: StartId) -> None:
        """Forget what was settled with another run of a server, whose disks may be others."""
        if self.starts.get(server_id) == start_id:
            return
        self.starts[server_id] = start_id
        for notes in (self.agreed, self.explained, self.suspects, self.streaks, self.matched):
            for disk in [one for one in notes if one[0] == server_id]:
                del notes[disk]

    def begin(self, disk: Disk | None) -> None:
        """Begin to count a disk; None: there is none to count."""
        self.disk = disk
        self.after = _FIRST
        self._numbers = [0] * BUCKETS
        self._room = MEMBERS_MAX
        if disk is not None:
            self._cut.discard(disk)
            self.members[disk] = {bucket: set() for bucket in self.suspects.get(disk, ())}

    def add(self, chunk_id: ChunkId, length: int) -> None:
        """Count a copy that the tables place on the disk."""
        self.counted += 1
        hashed = replica_hash(chunk_id, length)
        bucket = bucket_of(hashed)
        self._numbers[bucket] ^= hashed
        assert self.disk is not None, "no disk is counted"
        members = self.members[self.disk].get(bucket)
        if members is not None and self._room:
            self._room -= 1
            members.add(chunk_id)
        elif members is not None:
            self._cut.add(self.disk)

    def count_anew(self) -> None:
        """Count every disk again, as if nothing had been agreed or explained."""
        self.agreed.clear()
        self.explained.clear()
        self.checked_s.clear()
        self.streaks.clear()

    def holds(self, disk: Disk, chunk_id: ChunkId, length: int) -> bool:
        """Return whether the server's own tally says that a copy is there as the tables say."""
        bucket = bucket_of(replica_hash(chunk_id, length))
        return bucket in self.matched.get(disk, ())

    def all_listed(self, disk: Disk, bucket: int) -> None:
        """Note that a bucket that differs lists all that the tables place there, and more."""
        if disk not in self._cut and bucket in self.members.get(disk, {}):
            self.matched[disk] = self.matched.get(disk, frozenset()) | {bucket}

    def judged(self, disk: Disk, differing: set[int], now_s: float) -> None:
        """Note which buckets differ in the newest count of a disk, those explained left out."""
        before = self.streaks.get(disk, {})
        streaks = {}
        for bucket in differing:
            count, since_s = before.get(bucket, (0, now_s))
            streaks[bucket] = (count + 1, since_s)
        self.streaks[disk] = streaks

    def compared(self, disk: Disk, now_s: float) -> tuple[str, int, float | None]:
        """Return how a disk's tally compares with the tables: (state, buckets, since when).

        Amid a load some buckets always do, and hardly one of them twice on end.
        """
        streaks = self.streaks.get(disk)
        if streaks is None:
            return NOT_COUNTED, 0, None
        if not streaks:
            return AGREES, 0, None
        lasting = sum(
            count >= STREAK_MIN and now_s - since_s >= STREAK_S
            for count, since_s in streaks.values()
        )
        oldest_s = min(since_s for _, since_s in streaks.values())
        return (DIFFERS, lasting, oldest_s) if lasting else (CHANGING, len(streaks), oldest_s)

    def explain(self, disk: Disk, told: bytes, bucket: int) -> None:
        """Note that nothing is to be done about a bucket while the server says the same."""
        said, buckets = self.explained.get(disk, (b"", set()))
        self.explained[disk] = (told, {bucket} if said != told else buckets | {bucket})

    def explained_buckets(self, disk: Disk, told: bytes) -> set[int]:
        """Return the buckets about which nothing is to be done, given what the server says."""
        said, buckets = self.explained.get(disk, (b"", set()))
        return buckets if said == told else set()

    def end(self, now_s: float) -> list[int]:
        """Return the tally of the disk that was counted."""
        assert self.disk is not None, "no disk is counted"
        self.checked_s[self.disk] = now_s
        self.last, self.disk = self.disk, None
        return self._numbers
