"""How chunkservers and disks stand, on the wire: modes, labels, maintenance, removal, the plans."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.codec import Word

# Of a server; those that are no service take no new chunks, copies or tails.
IN_SERVICE = "in-service"
DRAINING = "draining"
DRAINED = "drained"
DECOMMISSIONING = "decommissioning"
DECOMMISSIONED = "decommissioned"
SERVER_MODES = (IN_SERVICE, DRAINING, DRAINED, DECOMMISSIONING, DECOMMISSIONED)
LEAVING = (DRAINING, DECOMMISSIONING)  # A job moves off what lies there.
EMPTY = (DRAINED, DECOMMISSIONED)  # It did.
# Of a disk: IN_SERVICE, DRAINING, DRAINED.
DISK_MODES = (IN_SERVICE, DRAINING, DRAINED)

PLACES_PAGE = 500  # Places that one request lists: some 10 ms of the leader's door.
KEPT_SHOWN = 20  # Places of a page that are missed, by name.


class DrainServer(Word, frozen=True, tag="drain_server"):
    """-> JobStarted. A job begins that empties a server, as was planned of it.

    `decommission`: for good. Raises: NotFound, PreconditionFailed (it is empty), WrongState (a job
    empties it already).
    """

    name: str
    decommission: bool = False
    planned_bytes: int = 0
    planned_moves: int = 0
    asked_by: str = ""
    bytes_per_s: int = 0  # Of all its moves; 0: no limit of its own.


class UndrainServer(Word, frozen=True, tag="undrain_server"):
    """-> Done. A server is back in service; the job that empties it is cancelled.

    Raises: NotFound, PreconditionFailed (it is in service).
    """

    name: str
    asked_by: str = ""


class ChangeMaintenance(Word, frozen=True, tag="change_maintenance"):
    """-> Done. Maintenance of a server from now on for so long; 0 ends it.

    Raises: NotFound, InvalidArgument.
    """

    name: str
    for_ms: int


class ChangeLabels(Word, frozen=True, tag="change_labels"):
    """-> Done. Raises: NotFound, InvalidArgument, LimitExceeded."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


class RemoveChunkserver(Word, frozen=True, tag="remove_chunkserver"):
    """-> RemovalStep. One step of the removal of a server that is empty, or dead.

    `dry_run` looks at the places of one page; else those that nobody misses are forgotten, and the
    server goes with the last one. Raises: NotFound; PreconditionFailed while it is in service and
    not dead, or a job empties it; WrongState, Busy (this leader has not heard the others yet).
    """

    name: str
    after: tuple[DiskId, ChunkId] = (DiskId(0), ChunkId(0))
    dry_run: bool = False


class KeptPlace(Word, frozen=True):
    """A place that is not forgotten, and why."""

    chunk_id: ChunkId
    why: str


class RemovalStep(Word, frozen=True, tag="removal_step"):
    """What a step of a removal met. `kept` are the first places that are missed, of `kept_count`.

    `removed`: the server is gone from the tables.
    """

    places: int
    kept_count: int
    kept: tuple[KeptPlace, ...]
    after: tuple[DiskId, ChunkId]
    more: bool
    removed: bool = False


class ListPlaces(Word, frozen=True, tag="list_places"):
    """-> PlacesListed: the chunks with a place on a server, one page. Raises: InvalidArgument.

    With a disk, only those on that one.
    """

    server_id: ServerId
    after: tuple[DiskId, ChunkId] = (DiskId(0), ChunkId(0))
    rows: int = PLACES_PAGE
    disk_id: DiskId = DiskId(0)


class PlaceRow(Word, frozen=True):
    """A chunk with a place on a server.

    `good` are the servers whose copies are there and whole, as the leader hears; of a chunk that is
    not sealed those that take part in it. `primary` orders the appends to a tail, `path` its file.
    `unplaced` are the copies that it lacks and no server can take, whatever time passes.
    """

    chunk_id: ChunkId
    state: str
    length: int
    goal: int
    min_copies: int
    rule: str
    good: tuple[ServerId, ...]
    holds: bool  # The place counts as a copy.
    primary: ServerId = ServerId(0)
    path: str = ""
    unplaced: int = 0


class PlacesListed(Word, frozen=True, tag="places_listed"):
    items: tuple[PlaceRow, ...]
    after: tuple[DiskId, ChunkId]
    more: bool


ServerModeRequest = (
    DrainServer | UndrainServer | ChangeMaintenance | ChangeLabels | RemoveChunkserver | ListPlaces
)
ServerModeReply = RemovalStep | PlacesListed
