"""Where the walks over servers and disks are that are emptied, and what they met; soft state.

Reports look at it from another thread: what a round came to is only replaced, never changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from posixpath import commonpath, dirname
from shlex import quote

from gfs_ha.ids import ChunkId, DiskId
from gfs_ha.master.planners.chunk_paths import ChunkPaths
from gfs_ha.protocol.jobs import NO_FILE, Blocker

BLOCKED_KEPT = 100  # Blocked chunks that are remembered by name; all are counted.
REST_S = 1.0  # After a round that found nothing to begin.
_ONE_BY_ONE = 3  # Files of one directory that are named with a command each; of more: all below it.


@dataclass(frozen=True, slots=True)
class Blocked:
    """A chunk that cannot be moved: what stands in the way, and what would let it go on.

    `fewer`: with so many copies wanted it could be moved; 0: fewer would not help.
    """

    chunk_id: ChunkId
    why: str
    way: str
    fewer: int
    tail: str = ""  # The file at whose end it is open.
    since: str = ""  # For how long so; it is not a part of the reason, which stays the same.

    def ways(self, path: str, directory: str = "") -> tuple[str, ...]:
        """Return what would let the chunk go on; `path` is a file that needs it, if known.

        Args: `directory` is one below which too many files are blocked to be named one by one.
        """
        if not self.fewer:
            return (self.way,)
        if directory:
            command = f"gfsctl setrep -R {self.fewer} {quote(directory)}"
            return self.way, f"want fewer copies of all files there: {command}"
        file = quote(path) if path else NO_FILE  # To be pasted, whatever it is called.
        return self.way, f"want fewer copies: gfsctl setrep {self.fewer} {file}"


@dataclass(slots=True)
class DrainRound:
    """What one walk over all places met."""

    places: int = 0
    copied: int = 0  # Of these: only the old copy is still to be deleted.
    left_bytes: int = 0  # Of sealed chunks whose copies are still to be made elsewhere.
    moving: int = 0
    waits: Counter[str] = field(default_factory=Counter)  # Places by why they wait.
    left: str = ""  # What is there still although the tables place nothing there.
    blocked: list[Blocked] = field(default_factory=list)
    blocked_count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # Blocked chunks by what blocks them.
    moved_bytes: int = 0  # What the job had moved at its beginning.
    moves: int = 0

    @property
    def waiting_for(self) -> str:
        """Return what most places wait for when none is being copied."""
        if self.moving or not self.waits:
            return self.left
        reason, count = self.waits.most_common(1)[0]
        return f"{count} {'place' if count == 1 else 'places'} {reason}"

    def blockers(self, paths: dict[ChunkId, str]) -> tuple[Blocker, ...]:
        """Return the first blocked chunks with the ways out, as people read them."""
        since = {one.why: f": {one.since}" for one in self.blocked if one.since}
        files = [one.tail or paths.get(one.chunk_id, "") for one in self.blocked]
        known: dict[tuple[str, int], set[str]] = {}
        for one, path in zip(self.blocked, files, strict=True):
            known.setdefault((one.why, one.fewer), set()).add(path)
        above = {alike: _directories(together) for alike, together in known.items()}
        return tuple(
            Blocker(
                one.chunk_id,
                path,
                one.why + since.get(one.why, ""),
                one.ways(path, above[one.why, one.fewer].get(path, "")),
            )
            for one, path in zip(self.blocked, files, strict=True)
        )

    def block(self, blocked: Blocked) -> None:
        """Count a blocked chunk, and keep the first of them."""
        self.blocked_count += 1
        self.reasons[blocked.why] += 1
        if len(self.blocked) < BLOCKED_KEPT:
            self.blocked.append(blocked)


def _directories(paths: Iterable[str]) -> dict[str, str]:
    """Return by path the directory below which many of them lie; never `/`, which is everything."""
    tops: dict[str, list[str]] = {}
    for path in filter(None, paths):
        tops.setdefault(path.split("/")[1], []).append(path)
    many = [together for together in tops.values() if len(together) > _ONE_BY_ONE]
    return {path: commonpath(map(dirname, together)) for together in many for path in together}


@dataclass(slots=True)
class JobWalk:
    """The walks of one job; `newest` is what its last whole round came to."""

    after: tuple[DiskId, ChunkId] | None = None
    running: DrainRound = field(default_factory=DrainRound)
    newest: DrainRound | None = None
    rest_until_s: float = 0.0
    began: int = 0  # Moves of this round.
    paid_until_s: float = 0.0  # By the limit of the job, with what was begun.
    survey_after: tuple[DiskId, ChunkId] | None = None  # Of a walk that begins nothing.
    survey: DrainRound = field(default_factory=DrainRound)
    survey_rest_until_s: float = 0.0

    def pay(self, now_s: float, length: int, bytes_per_s: int) -> None:
        """Note a move that is begun; the limit holds others back for so long."""
        if bytes_per_s:
            self.paid_until_s = max(self.paid_until_s, now_s) + length / bytes_per_s

    def end_round(self, now_s: float) -> DrainRound:
        """Begin anew, and return what the round came to."""
        self.newest, self.running = self.running, DrainRound()
        self.after = None
        self.rest_until_s = 0.0 if self.began else now_s + REST_S
        self.began = 0
        return self.newest

    def end_survey(self, now_s: float) -> None:
        """Take what a walk that began nothing came to for the newest."""
        self.newest, self.survey = self.survey, DrainRound()
        self.survey_after = None
        self.survey_rest_until_s = now_s + REST_S


@dataclass(slots=True)
class DrainWalks:
    """The walks of all jobs that empty something, by number."""

    jobs: dict[int, JobWalk] = field(default_factory=dict)
    turn: int = 0  # Which job comes first: they take turns.
    paths: ChunkPaths = field(default_factory=ChunkPaths)

    def of(self, number: int) -> JobWalk:
        """Return the walk of a job."""
        return self.jobs.setdefault(number, JobWalk())

    def keep(self, numbers: set[int]) -> None:
        """Forget the walks of jobs that have ended."""
        if self.jobs.keys() - numbers:
            self.jobs = {number: walk for number, walk in self.jobs.items() if number in numbers}
