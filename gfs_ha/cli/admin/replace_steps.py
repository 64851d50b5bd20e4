"""What is missed of a disk, and the steps that change it for another, from where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from gfs_ha.cli.admin.disks import disk_name
from gfs_ha.cli.names import printable
from gfs_ha.cli.units import count_text
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.protocol.disks import FAILED, LOST, DiskStanding
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, EMPTY, IN_SERVICE, LEAVING, PlaceRow

_KEPT = 20  # Chunks that are named.
_REPLACE = "gfsctl admin disks replace"


@dataclass(slots=True)
class MissedThere:
    """The chunks with a place on a disk, by what they have elsewhere."""

    places: int = 0
    length: int = 0
    open_count: int = 0  # Not sealed yet.
    alone_count: int = 0  # Without a good copy on any other server.
    short_count: int = 0  # With one there, and fewer than are wanted.
    stuck_count: int = 0  # Of these, the ones of which no server can take a copy for good.
    alone: list[ChunkId] = field(default_factory=list)
    short: list[ChunkId] = field(default_factory=list)

    def add(self, server_id: ServerId, place: PlaceRow) -> None:
        """Count a chunk."""
        self.places += 1
        self.length += place.length
        others = len(set(place.good) - {server_id})
        if place.state != "sealed":
            self.open_count += 1
        elif not others:
            self.alone_count += 1
            self.alone += [place.chunk_id] * (len(self.alone) < _KEPT)
        elif others < place.goal:
            self.short_count += 1
            self.stuck_count += place.unplaced >= place.goal - others
            self.short += [place.chunk_id] * (len(self.short) < _KEPT)

    @property
    def stuck(self) -> bool:
        """Return whether no server can take any of what is short, whatever time passes."""
        return 0 < self.short_count == self.stuck_count

    @property
    def waited_for(self) -> int:
        """Return how many chunks are getting other copies; those that are only there get none."""
        return self.open_count + self.short_count - self.stuck_count


class DiskGuide(msgspec.Struct, frozen=True):
    """-> kind DiskReplacement; the one item is the disk.

    `ready`: it may be taken out, since nothing on it is missed, or nothing of that can be made anew
    before its server has another disk (`stuck`).
    """

    items: tuple[DiskStanding, ...]
    ready: bool
    verdict: str
    steps: tuple[str, ...]
    places: int
    length: int
    open_count: int
    alone_count: int
    short_count: int
    alone: tuple[ChunkId, ...]
    short: tuple[ChunkId, ...]
    stuck: bool


def stands(row: DiskStanding) -> str:
    """Return how a disk stands; one that serves shares what becomes of its server."""
    if row.state == IN_SERVICE and row.server_mode in LEAVING:
        return DRAINING
    return DRAINED if row.state == IN_SERVICE and row.server_mode in EMPTY else row.state


def guide_of(row: DiskStanding, missed: MissedThere) -> DiskGuide:
    """Return where a disk stands, and what comes next."""
    ready = stands(row) in (DRAINED, FAILED, LOST) and not missed.waited_for + missed.alone_count
    return DiskGuide(
        items=(row,),
        ready=ready,
        verdict=_verdict(row, missed),
        steps=tuple(_steps(row, missed)),
        places=missed.places,
        length=missed.length,
        open_count=missed.open_count,
        alone_count=missed.alone_count,
        short_count=missed.short_count,
        alone=tuple(missed.alone),
        short=tuple(missed.short),
        stuck=missed.stuck,
    )


def _verdict(row: DiskStanding, missed: MissedThere) -> str:
    name, state = disk_name(row), stands(row)
    if state != row.state:
        name += f" works, its server is {row.server_mode}: it"
    if state == IN_SERVICE:
        return f"{name} works and is in service: empty it first, then change it."
    if state == DRAINING:
        return f"{name} is being emptied: wait for that."
    if state == DRAINED:
        return f"{name} is empty and may be taken out."
    if row.state not in (FAILED, LOST):
        return f"nobody can say how {name} is: {row.why}."
    gone = "failed" if row.state == FAILED else "is lost"
    if missed.alone_count:
        chunks = count_text(missed.alone_count, "chunk has its", "chunks have their")
        return f"{name} {gone}, and {chunks} only copy there: do not throw it away."
    if missed.waited_for:
        chunks = count_text(missed.waited_for, "chunk has", "chunks have")
        return f"{name} {gone}; {chunks} too few copies elsewhere, which are being made anew."
    if missed.stuck:
        chunks = count_text(missed.short_count, "chunk has", "chunks have")
        return (
            f"{name} {gone}; {chunks} too few copies elsewhere, and no server can take more of"
            f" them: they are made anew once {row.server} has another disk."
        )
    return f"{name} {gone}, and nothing on it is missed: every chunk has its copies elsewhere."


def _steps(row: DiskStanding, missed: MissedThere) -> Iterator[str]:
    name, state = disk_name(row), stands(row)
    if state == IN_SERVICE:
        yield f"empty it: {_REPLACE} {name} --wait (what that moves: add -n)"
        if not row.serving:
            yield (
                f"it is the only disk in service of {row.server}, which takes nothing new then:"
                f" gfsctl admin chunkservers drain {row.server} says what that means"
            )
        yield from _change(row)
    elif state == DRAINING:
        yield f"wait for {row.job}: {_REPLACE} {name} --wait"
        yield f"if it is blocked, the chunks and the ways out: gfsctl admin jobs show {row.job}"
        yield from _change(row)
    elif state == DRAINED:
        yield from _change(row)
        if row.state == DRAINED:
            yield f"or take it back into service: gfsctl admin disks undrain {name}"
    elif row.state in (FAILED, LOST):
        yield from _gone(row, missed)
    else:
        yield f"see to {row.server} first: gfsctl admin chunkservers show {row.server}"
        yield (
            f"a server that does not come back goes with all its disks: gfsctl admin chunkservers"
            f" remove {row.server}"
        )


def _gone(row: DiskStanding, missed: MissedThere) -> Iterator[str]:
    name = disk_name(row)
    if missed.alone_count:
        shown = format_id(missed.alone[0])
        yield (
            f"bring it back with its data if that can be done (cable, controller, mount), and"
            f" restart {row.server}: all of it counts again then"
        )
        yield f"see who needs these chunks: gfsctl admin chunks show {shown}; gfsctl admin fsck"
        return
    if missed.waited_for:
        yield f"wait for the repair: {_REPLACE} {name} --wait (gfsctl admin repair status)"
    if row.state == FAILED:
        yield f"if it works again (cable, mount), restart {row.server}: what it has counts again"
        yield from _change(row)
        return
    yield f"if it comes back, mount it and restart {row.server}: it counts again by itself"
    if missed.stuck:
        yield from _change(row)
        return
    yield f"if not, take it out of the tables: {_REPLACE} {name} --forget"


def _change(row: DiskStanding) -> Iterator[str]:
    """Yield what is to be done on the machine, and after."""
    where = printable(row.directory) or "its directory"
    yield (
        f"on the machine of {row.server}: stop the chunkserver, and change its file: under"
        f" [chunkserver], in the place of {where}, an empty directory on the new disk"
        + ("; or take the disk out of `disks`" if row.serving else "")
    )
    yield f"start the chunkserver again: it comes with the new disk, and is {row.server} as before"
    yield f"if gfsctl admin disks ls still shows the old one: {_REPLACE} {disk_name(row)} --forget"
    if row.server_mode != IN_SERVICE:
        back = f"gfsctl admin chunkservers undrain {row.server}"
        yield f"take {row.server} back into service, if it is to stay: {back}"
    yield "fill the new one: gfsctl admin rebalance"
