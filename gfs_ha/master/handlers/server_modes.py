"""What operators ask about how servers stand: out of service, maintenance, labels, the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

from gfs_ha.errors import (
    Busy,
    GfsError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    StaleCommand,
    WrongState,
)
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX, SERVER_NAME_BYTES_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import once_visible, result_of
from gfs_ha.master.observed import DEAD as GONE
from gfs_ha.master.planners.copies import evidence
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.planners.unplaced import Takers
from gfs_ha.master.proposals import MARGIN_S, reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.repairing import scene_now
from gfs_ha.master.state.bounds import U64_MAX, check_range, fitting_text
from gfs_ha.master.state.commands import LeaderCommand
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Server
from gfs_ha.master.state.server_mode_commands import (
    ForgetPlaces,
    RemoveServer,
    SetLabels,
    SetMaintenance,
    SetServerMode,
)
from gfs_ha.master.state.tables import ORPHANS, below, id_key
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol import server_modes as words
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.jobs import CANCELLED, DECOMMISSION, DRAIN, JobOptions, job_id
from gfs_ha.protocol.server_modes import (
    KEPT_SHOWN,
    PLACES_PAGE,
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

ASKED_BY_BYTES_MAX = 255
ORPHANS_FORGOTTEN = 200  # By one step.


def drain_server(desk: Desk, request: DrainServer, slot: Slot) -> None:
    """Begin the job that empties a server."""
    desk.leading()
    once_visible(desk, slot, partial(_drain_server, desk, request, slot))


def _drain_server(desk: Desk, request: DrainServer, slot: Slot) -> None:
    server_id, _ = named_server(desk, request.name)
    kind = DECOMMISSION if request.decommission else DRAIN
    command = StartJob(
        kind,
        JobOptions(bytes_per_s=request.bytes_per_s),
        server_id,
        planned_bytes=request.planned_bytes,
        planned_moves=request.planned_moves,
        asked_by=fitting_text(request.asked_by, ASKED_BY_BYTES_MAX),
    )
    propose_asked(desk, command, slot)


def undrain_server(desk: Desk, request: UndrainServer, slot: Slot) -> None:
    """Take a server back into service, whatever became of the job that was to empty it."""
    desk.leading()
    once_visible(desk, slot, partial(_undrain_server, desk, request, slot))


def _undrain_server(desk: Desk, request: UndrainServer, slot: Slot) -> None:
    server_id, server = named_server(desk, request.name)
    with desk.kv.read() as reader:
        view = View(reader)
        row = view.server_mode(server_id)
        job = get_job(view, row.job)
    if row.mode == words.IN_SERVICE:
        raise PreconditionFailed(f"{server.name} is in service already")
    command: LeaderCommand
    if row.mode in words.LEAVING and job is not None and not job.ended:
        by = fitting_text(request.asked_by, ASKED_BY_BYTES_MAX)
        said = f"{server.name} was taken back into service" + (f" by {by}" if by else "")
        command = SetJobPhase(row.job, job.phase, CANCELLED, said)
    else:
        command = SetServerMode(server_id, row.mode, words.IN_SERVICE, 0, row.job)
    propose_asked(desk, command, slot)


def change_maintenance(desk: Desk, request: ChangeMaintenance, slot: Slot) -> None:
    """Begin or end the maintenance of a server."""
    desk.leading()
    once_visible(desk, slot, partial(_change_maintenance, desk, request, slot))


def _change_maintenance(desk: Desk, request: ChangeMaintenance, slot: Slot) -> None:
    server_id, _ = named_server(desk, request.name)
    propose_asked(desk, SetMaintenance(server_id, request.for_ms), slot)


def change_labels(desk: Desk, request: ChangeLabels, slot: Slot) -> None:
    """Set labels of a server, and take others away."""
    desk.leading()
    once_visible(desk, slot, partial(_change_labels, desk, request, slot))


def _change_labels(desk: Desk, request: ChangeLabels, slot: Slot) -> None:
    server_id, _ = named_server(desk, request.name)
    propose_asked(desk, SetLabels(server_id, request.labels, request.removed), slot)


def named_server(desk: Desk, name: str) -> tuple[ServerId, Server]:
    """Return the server of a name. Raises: NotFound."""
    desk.leading()
    with desk.kv.read() as reader:
        known = View(reader).servers()
    for server_id, server in known:
        if server.name == name:
            return server_id, server
    there = ", ".join(sorted(server.name for _, server in known)[:20])
    shown = fitting_text(name, SERVER_NAME_BYTES_MAX)
    raise NotFound(f"there is no chunkserver {shown!r}; there are {there or 'none yet'}")


def propose_asked(desk: Desk, command: LeaderCommand, slot: Slot) -> None:
    """Propose what was asked for, and answer with what it came to."""

    def done(outcome: Outcome) -> None:
        result = result_of(desk, slot, outcome)
        if result is None:
            return
        reply = reply_of(outcome)
        if isinstance(reply, Failure) and reply.error == StaleCommand.__name__:
            slot.fail(Busy(f"{reply.message}; ask again", retry_ms=50))
        else:
            slot.reply_encoded(result)

    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


# Removal ----------------------------------------------------------------------------------------


def remove_chunkserver(desk: Desk, request: RemoveChunkserver, slot: Slot) -> None:
    """Do one step of a removal."""
    desk.leading()
    once_visible(desk, slot, partial(_remove_chunkserver, desk, request, slot))


def _remove_chunkserver(desk: Desk, request: RemoveChunkserver, slot: Slot) -> None:
    check_place(request.after)
    server_id, server = named_server(desk, request.name)
    reign = desk.leading()
    with desk.kv.read() as reader:
        view = View(reader)
        scene = scene_now(desk, view)
        _check_removal(desk, view, scene, (server_id, server))
        page = view.replicas_of(server_id, request.after, PLACES_PAGE // 2)
        free, kept = missed_places(view, scene, server_id, page)
        mode = view.server_mode(server_id).mode
        places = view.replica_count(server_id)
        whole = orphans_end(view, below(id_key(server_id)))
    more = len(page) == PLACES_PAGE // 2
    step = RemovalStep(
        places=len(page),
        kept_count=len(kept),
        kept=tuple(kept[:KEPT_SHOWN]),
        after=page[-1] if page else request.after,
        more=more,
    )
    if request.dry_run:
        slot.reply(step)
        return
    if free or not page:
        forget = ForgetPlaces(server_id, tuple(free[:ITEMS_PER_COMMAND_MAX]), ORPHANS_FORGOTTEN)
    else:
        slot.reply(step)
        return
    last = RemoveServer(server_id, mode) if whole and places == len(free) else None

    def removed() -> None:
        reign.observed.forget(server_id)
        if desk.tickets is not None:
            desk.tickets.forget(server_id)
        slot.reply(removed_by(step))

    def forgotten() -> None:
        if last is None:
            slot.reply(step)
        else:
            propose_then(desk, last, slot, removed)

    propose_then(desk, forget, slot, forgotten)


def orphans_end(view: View, keys: tuple[bytes, bytes | None]) -> bool:
    """Return whether one step forgets all replicas of unknown chunks that are noted there."""
    return next(islice(view.rows.scan(ORPHANS, *keys), ORPHANS_FORGOTTEN, None), None) is None


def removed_by(step: RemovalStep) -> RemovalStep:
    """Return the step as the one that ended the removal."""
    return RemovalStep(
        step.places, step.kept_count, step.kept, step.after, more=False, removed=True
    )


def propose_then(
    desk: Desk, command: LeaderCommand, slot: Slot, action: Callable[[], None]
) -> None:
    """Propose, and go on, on the door's thread, once it is done."""

    def done(outcome: Outcome) -> None:
        result = result_of(desk, slot, outcome)
        if result is None:
            return
        reply = reply_of(outcome)
        if isinstance(reply, Failure) and reply.error == StaleCommand.__name__:
            slot.fail(WrongState(reply.message))
        elif isinstance(reply, Failure):
            slot.reply_encoded(result)
        else:
            desk.post_or_fail(partial(_guarded, desk, slot, action), slot.fail)

    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


def _guarded(desk: Desk, slot: Slot, action: Callable[[], None]) -> None:
    try:
        action()
    except GfsError as error:
        slot.fail(desk.weigh(error))


def _check_removal(desk: Desk, view: View, scene: Scene, known: tuple[ServerId, Server]) -> None:
    """Raises: PreconditionFailed, Busy when the server is not to be removed (now)."""
    server_id, server = known
    name, row = server.name, view.server_mode(server_id)
    state = scene.repair.states.get(server_id, GONE)
    if row.mode in words.LEAVING:
        job = get_job(view, row.job)
        job_name = job_id(job.kind, row.job) if job is not None else f"#{row.job}"
        raise PreconditionFailed(
            f"job {job_name} is emptying {name}; wait for it (gfsctl admin jobs wait {job_name}),"
            f" or take {name} back: gfsctl admin chunkservers undrain {name}"
        )
    if state != GONE and row.mode not in words.EMPTY:
        raise PreconditionFailed(
            f"{name} is {state} and in service; empty it first:"
            f" gfsctl admin chunkservers decommission {name}"
        )
    if scene.repair.young:
        raise Busy("this leader is new and still hears its servers", retry_ms=1000)


def missed_places(
    view: View, scene: Scene, server_id: ServerId, page: Iterable[tuple[DiskId, ChunkId]]
) -> tuple[list[tuple[ChunkId, tuple[ServerId, ...]]], list[KeptPlace]]:
    """Return the chunks that do not miss their place on a server, with who has them for sure, and
    those that do, with why.
    """
    free: list[tuple[ChunkId, tuple[ServerId, ...]]] = []
    kept: list[KeptPlace] = []
    for _, chunk_id in page:
        chunk = view.chunk(chunk_id)
        if chunk is None:
            continue
        sure, why = _missed(scene, chunk_id, chunk, server_id)
        if why:
            kept.append(KeptPlace(chunk_id, why))
        else:
            free.append((chunk_id, sure))
    return free, kept


def _missed(
    scene: Scene, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId
) -> tuple[tuple[ServerId, ...], str]:
    """Return the other holders that are sure, and why a chunk cannot do without its place."""
    if chunk.state == DEAD:
        return (), ""
    if chunk.state != SEALED:
        return (), f"it is {chunk.state} still"
    sure = evidence(scene, chunk_id, chunk, server_id)
    if len(sure) < chunk.goal:
        others = "1 other server has" if len(sure) == 1 else f"{len(sure)} other servers have"
        copies = "1 copy is" if chunk.goal == 1 else f"{chunk.goal} copies are"
        return (), f"{others} it, {copies} wanted"
    return sure[: chunk.goal], ""


# What lies there --------------------------------------------------------------------------------


def list_places(desk: Desk, view: View, request: ListPlaces, slot: Slot) -> PlacesListed:
    """Return the chunks with a place on a server, one page. Raises: InvalidArgument."""
    if not 1 <= request.rows <= PLACES_PAGE:
        raise InvalidArgument(f"a page lists 1 to {PLACES_PAGE} places, not {request.rows}")
    check_range("server", request.server_id, 0, U64_MAX)
    check_place(request.after)
    scene = scene_now(desk, view)
    check_range("disk", request.disk_id, 0, U64_MAX)
    start = max(request.after, (request.disk_id, ChunkId(0)))
    found = view.replicas_of(request.server_id, start, request.rows)
    page = [one for one in found if request.disk_id in (0, one[0])]
    items, known = [], (scene, Takers(scene))
    for _, chunk_id in page:
        chunk = view.chunk(chunk_id)
        if chunk is not None and chunk.state != DEAD:
            items.append(_place_row(view, known, chunk_id, chunk, request.server_id))
    after = page[-1] if page else request.after
    return PlacesListed(tuple(items), after, len(page) == request.rows)


def check_place(after: tuple[DiskId, ChunkId]) -> None:
    """Raises: InvalidArgument unless it can be a place."""
    for name, value in zip(("disk", "chunk"), after, strict=True):
        check_range(name, value, 0, U64_MAX)


def _place_row(
    view: View, known: tuple[Scene, Takers], chunk_id: ChunkId, chunk: Chunk, server_id: ServerId
) -> PlaceRow:
    scene, takers = known
    sealed = chunk.state == SEALED
    members = tuple(one.server_id for one in chunk.replicas if scene.live(one.server_id))
    good = scene.good(chunk_id, chunk) if sealed else members
    tail = tail_of(view, chunk.tail_of) if chunk.tail_of else None
    kept = {*good, *scene.coming(chunk)}
    return PlaceRow(
        chunk_id=chunk_id,
        state=chunk.state,
        length=chunk.length if sealed else chunk.published_end,
        goal=chunk.goal,
        min_copies=chunk.min_copies,
        rule=scene.rule(chunk),
        good=tuple(one for one in good if scene.live(one)),
        holds=server_id in chunk.holders if sealed else True,
        primary=tail.server_id if tail is not None else ServerId(0),
        path=tail.path if tail is not None else "",
        unplaced=takers.lacking(chunk.goal, chunk.length, kept) if sealed else 0,
    )
