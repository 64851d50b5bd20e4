"""How chunkservers stand, as operators change it: drained, taken back, in maintenance, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import PreconditionFailed
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.protocol.jobs import JobStarted
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.server_modes import (
    ChangeLabels,
    ChangeMaintenance,
    DrainServer,
    KeptPlace,
    ListPlaces,
    PlaceRow,
    PlacesListed,
    RemovalStep,
    RemoveChunkserver,
    UndrainServer,
)

ANY_DISK = DiskId(0)
_NAMED_MAX = 5
_STEPS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal met: places that are forgotten, and the first of those that are missed."""

    places: int
    kept_count: int
    kept: tuple[KeptPlace, ...]


class ServerModes:
    """Thread-safe. Raises: NotFound (no such server), NoLeader…"""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def drain(
        self,
        name: str,
        decommission: bool,
        planned: tuple[int, int],
        asked_by: str,
        bytes_per_s: int = 0,
    ) -> JobStarted:
        """Begin to empty a server; return the job. Args: `planned`: bytes and moves.

        Raises: WrongState when it is empty, or a job empties it already.
        """
        asked = DrainServer(name, decommission, *planned, asked_by, bytes_per_s)
        return self._calls.ask(asked, JobStarted)

    def undrain(self, name: str, asked_by: str) -> None:
        """Take a server back into service. Raises: PreconditionFailed when it is in service."""
        self._calls.ask(UndrainServer(name, asked_by), Done)

    def maintain(self, name: str, for_ms: int) -> None:
        """Begin the maintenance of a server, or end it (0). Raises: InvalidArgument."""
        self._calls.ask(ChangeMaintenance(name, for_ms), Done)

    def label(
        self, name: str, labels: tuple[tuple[str, str], ...], removed: tuple[str, ...]
    ) -> None:
        """Set labels of a server, and take others away. Raises: InvalidArgument, LimitExceeded."""
        self._calls.ask(ChangeLabels(name, labels, removed), Done)

    def places(self, server_id: ServerId, disk_id: DiskId = ANY_DISK) -> Iterator[PlaceRow]:
        """Yield the chunks with a place on a server, or on one disk of it, page by page."""
        after = (disk_id, ChunkId(0))
        while True:
            asked = ListPlaces(server_id, after, disk_id=disk_id)
            page = self._calls.ask(asked, PlacesListed)
            yield from page.items
            if not page.more or page.after <= after:
                return
            after = page.after

    def plan_removal(self, name: str) -> Removal:
        """Return what the removal of a server would forget, and what forbids it.

        Raises: PreconditionFailed while it is in service, or a job empties it; Busy.
        """
        return self._walk(name, dry_run=True, on_step=lambda count: None)

    def remove(self, name: str, on_step: Callable[[int], object] = lambda count: None) -> None:
        """Take a server out of the cluster for good, page by page; it can be asked again.

        Raises: PreconditionFailed while it is in service, or a chunk would be without its goal;
        WrongState when something came there meanwhile; Busy.
        """
        plan = self.plan_removal(name)
        if plan.kept_count:
            raise PreconditionFailed(why_not(name, plan))
        self._walk(name, dry_run=False, on_step=on_step)

    def _walk(self, name: str, dry_run: bool, on_step: Callable[[int], object]) -> Removal:
        places = kept_count = 0
        kept: list[KeptPlace] = []
        after = (DiskId(0), ChunkId(0))
        for _ in range(_STEPS_MAX):
            step = self._calls.ask(RemoveChunkserver(name, after, dry_run), RemovalStep)
            places += step.places
            kept_count += step.kept_count
            kept += step.kept[: _NAMED_MAX - len(kept)]
            on_step(places)
            if step.removed or (dry_run and not step.more):
                break
            if not dry_run and step.kept_count:
                raise PreconditionFailed(why_not(name, Removal(places, kept_count, tuple(kept))))
            # At the end once more from the beginning: with nothing left the server itself goes.
            after = step.after if step.more else (DiskId(0), ChunkId(0))
        return Removal(places, kept_count, tuple(kept))


def why_not(name: str, plan: Removal) -> str:
    """Return why a server cannot be removed yet, and what to do."""
    named = ", ".join(f"{format_id(one.chunk_id)}: {one.why}" for one in plan.kept)
    more = (
        f" and {plan.kept_count - len(plan.kept)} more" if plan.kept_count > len(plan.kept) else ""
    )
    chunks = "1 chunk needs" if plan.kept_count == 1 else f"{plan.kept_count} chunks need"
    return (
        f"{chunks} its place on {name} ({named}{more}); wait for repair (gfsctl admin repair"
        " status), add a server, or want fewer copies (gfsctl setrep N FILE)"
    )
