"""What chunkservers say to the leader, and the orders that they get in return (G1)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from gfs_ha.errors import (
    Busy,
    DiskFailed,
    DiskFull,
    InvalidArgument,
    NotLeader,
    ReplicaBusy,
    ReplicaDamaged,
    StaleOrder,
    UnknownReplica,
)
from gfs_ha.ids import ServerId
from gfs_ha.limits import DISKS_PER_SERVER_MAX
from gfs_ha.master.complaints import take_failed_link
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import result_of
from gfs_ha.master.handlers.replica_checks import compared, not_compared
from gfs_ha.master.handlers.scrub import note_scrub
from gfs_ha.master.observed import LIVE
from gfs_ha.master.orders import (
    COMPACT,
    COMPARE,
    COPY,
    CREATE,
    DELETE,
    FENCE,
    FINISH,
    KEEP,
    PROVE,
    PUNCH,
)
from gfs_ha.master.planners.listed import order_for
from gfs_ha.master.planners.plan import Plan, cluster_ms
from gfs_ha.master.proposals import MARGIN_S, reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.reign import Reign
from gfs_ha.master.sealing import is_conclusive
from gfs_ha.master.state.bounds import fitting_text
from gfs_ha.master.state.commands import EnrolledDisk, EnrollServer
from gfs_ha.master.state.records import DEAD
from gfs_ha.master.state.servers import DIRECTORY_BYTES_MAX
from gfs_ha.master.state.tail_reads import lease_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import (
    FenceAnswer,
    Heartbeat,
    HeartbeatReply,
    OrderAnswer,
    OrderDone,
    OrderFailed,
    ProofAnswer,
    RegisterServer,
    ServerRegistered,
)
from gfs_ha.protocol.servers import ListServers, ServersListed
from gfs_ha.protocol.tally import LIST_BUCKETS_MAX
from gfs_ha.strict_toml import check_name

logger = logging.getLogger(__name__)

OPEN_LOOKED_AT_MAX = 1_000  # Open replicas of one heartbeat that are compared with the tables.


def register_server(desk: Desk, request: RegisterServer, slot: Slot) -> None:
    """Write a server down and note its start (D6)."""
    reign = desk.leading()
    try:
        check_name(request.name)  # It names files, screens and metrics, as that of a master does.
    except ValueError as error:
        raise InvalidArgument(f"chunkserver {error}") from error
    _refuse_a_double(desk, reign, request)
    command = EnrollServer(
        name=request.name,
        server_id=request.server_id,
        host=request.host,
        port=request.port,
        rack=request.rack,
        machine=request.machine,
        start_id=request.start_id,
        boot_id=request.boot_id,
        disks=tuple(
            EnrolledDisk(disk.disk_id, disk.total_bytes, _fitting_end(disk.directory))
            for disk in request.disks[:DISKS_PER_SERVER_MAX]
        ),
    )

    def done(outcome: Outcome) -> None:
        result = result_of(desk, slot, outcome)
        if result is None:
            return
        reply = reply_of(outcome)
        if isinstance(reply, ServerRegistered):
            # Before the answer leaves: the server's first heartbeat must find its start noted.
            desk.post_quietly(partial(_note_start, desk, reign, reply.server_id, request))
        slot.reply_encoded(result)

    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


def _fitting_end(directory: str) -> str:
    """Return a directory as it is written down: the end says most, and names the disk."""
    end = directory.encode("utf-8", "replace")[-DIRECTORY_BYTES_MAX:].decode("utf-8", "ignore")
    return fitting_text(end, DIRECTORY_BYTES_MAX)


def _refuse_a_double(desk: Desk, reign: Reign, request: RegisterServer) -> None:
    """Refuse a second process under the name of one that lives, with other disks (D6).

    Else the two would push each other out, and each time the other's disk would count as lost.
    """
    with desk.kv.read() as reader:
        named = [one for one, server in View(reader).servers() if server.name == request.name]
    now_s = desk.now_s()
    for server_id in named:
        facts = reign.observed.servers.get(server_id)
        if facts is None or reign.observed.state(server_id, now_s) != LIVE:
            continue
        known = {disk.disk_id for disk in facts.disks}
        if known and known.isdisjoint(disk.disk_id for disk in request.disks):
            raise Busy(
                f"a chunkserver named {request.name} is alive with another data directory; "
                "stop it, or give this one another name",
                retry_ms=1000,
            )


def heartbeat(desk: Desk, request: Heartbeat, slot: Slot) -> None:
    """Take news and answers of a server; answer with orders, at once or within a second."""
    reign = desk.leading()
    if request.epoch > reign.epoch:
        # Another leader came after this one, and this one has not heard of it yet. It is not
        # believed further: only masters tell masters that their time is over (M5).
        raise NotLeader(f"a leader of epoch {request.epoch} is known", leader="")
    now_s = desk.now_s()
    wall_ms = desk.runtime.wall_ns() // 1_000_000
    if not reign.observed.heard(request, now_s, wall_ms) and not _recognise(desk, reign, request):
        slot.reply(HeartbeatReply(reign.epoch, register_again=True))
        return
    reign.repairs.heard(request.server_id, request.copies, now_s)
    reign.repairs.listed(request.server_id, request.listed[:LIST_BUCKETS_MAX])
    _note_lease(desk, reign, request)
    if desk.tickets is not None:
        desk.tickets.heard(request.server_id, request.start_id, request.ticket_key)
    news = note_scrub(desk, reign, request)
    for answer in request.answers:
        _take_answer(desk, reign, request, answer)
    for end in request.finished:
        desk.sealing().finished(request.server_id, request.start_id, end)
    _compare_open(desk, reign, request)
    reign.park(request.server_id, slot, now_s)
    if request.epoch < reign.epoch and reign.introduce(request.server_id, request.start_id):
        # Once: from now on it obeys no earlier leader.
        news = True
    if news:
        reign.release(request.server_id, now_s)


def _note_lease(desk: Desk, reign: Reign, beat: Heartbeat) -> None:
    """Note what is to be told to a primary of its lease (G9)."""
    if not beat.led:
        return
    with desk.kv.read() as reader:
        view = View(reader)
        lease, counters = lease_of(view, beat.server_id), view.counters()
    if lease is None or lease.start_id != beat.start_id:
        return
    now_s = desk.now_s()
    left_ms = lease.until_ms - cluster_ms(counters, now_s - reign.elected_s)
    reign.note_lease(beat.server_id, now_s + left_ms / 1000)


def list_servers(desk: Desk, view: View, request: ListServers, slot: Slot) -> ServersListed:
    """Return the servers that are live now."""
    reign = desk.leading()
    now_s = desk.now_s()
    found = [
        view.location(server_id)
        for server_id, _ in view.servers()
        if reign.observed.state(server_id, now_s) == LIVE
    ]
    return ServersListed(tuple(location for location in found if location is not None))


def _note_start(desk: Desk, reign: Reign, server_id: ServerId, request: RegisterServer) -> None:
    reign.observed.registered(server_id, request, desk.now_s())
    if desk.tickets is not None:
        desk.tickets.heard(server_id, request.start_id, request.ticket_key)
    reign.observed.unreached.returned(server_id, desk.now_s())
    reign.repairs.registered(server_id)
    reign.forget_strays_of(server_id)
    reign.forget_lease(server_id)
    logger.info(
        "chunkserver registered server=%d name=%s address=%s:%d rack=%s",
        server_id,
        request.name,
        request.host,
        request.port,
        request.rack,
    )


def _recognise(desk: Desk, reign: Reign, request: Heartbeat) -> bool:
    """Accept a start that an earlier leader wrote down: a failover costs no proposals."""
    with desk.kv.read() as reader:
        server = View(reader).server(request.server_id)
    if server is None or server.start_id != request.start_id:
        return False  # To register will tell it what is wrong, if its id was never given here.
    start = RegisterServer(
        name=server.name,
        server_id=request.server_id,
        host=server.host,
        port=server.port,
        rack=server.rack,
        machine=server.machine,
        start_id=server.start_id,
        boot_id=server.boot_id,
        disks=request.disks,
    )
    now_s = desk.now_s()
    reign.observed.registered(request.server_id, start, now_s)
    return reign.observed.heard(request, now_s, desk.runtime.wall_ns() // 1_000_000)


def _take_answer(desk: Desk, reign: Reign, beat: Heartbeat, answer: OrderAnswer) -> None:
    server_id = beat.server_id
    if isinstance(answer, FenceAnswer | ProofAnswer):
        desk.sealing().answered(server_id, beat.start_id, answer)
    elif isinstance(answer, OrderFailed):
        if reign.observed.trouble(answer.chunk_id, server_id, answer.failure.message):
            logger.warning(
                "order failed server=%d chunk=%#x order=%s because=%s",
                server_id,
                answer.chunk_id,
                answer.kind,
                answer.failure.message,
            )
        if answer.kind == COMPARE:
            not_compared(reign, server_id, answer)
        if answer.kind == CREATE:
            desk.opening().answered(server_id, answer)
        elif answer.kind in (FENCE, PROVE):
            desk.sealing().answered(server_id, beat.start_id, answer)
        elif answer.kind == COMPARE and is_conclusive(answer):
            # It is gone, or another chunk's; what is still there is listed with the next heartbeat.
            reign.orders.answered(server_id, answer.chunk_id, answer.kind, answer.order_index)
            there = answer.failure.error == ReplicaDamaged.__name__
            reign.repairs.compared(answer.chunk_id, server_id, there)
        else:
            _repair_failed(desk, reign, server_id, answer)
        # Any other stays outstanding and goes out again in a second.
    else:
        _order_done(desk, reign, beat, answer)


def _order_done(desk: Desk, reign: Reign, beat: Heartbeat, answer: OrderDone) -> None:
    reign.orders.answered(beat.server_id, answer.chunk_id, answer.kind, answer.order_index)
    done = (answer.chunk_id, beat.server_id, answer.order_index)
    if answer.kind == CREATE:
        desk.opening().answered(beat.server_id, answer)
    elif answer.kind == COPY:
        reign.observed.healed(answer.chunk_id, beat.server_id)
        reign.repairs.copied(done, desk.now_s())
    elif answer.kind == KEEP:
        reign.repairs.answered(KEEP, done)
    elif answer.kind == COMPARE:
        reign.repairs.compared(answer.chunk_id, beat.server_id, True)
        compared(reign, beat, answer.chunk_id)
    elif answer.kind == COMPACT:
        reign.garbage.compacted(done, "")
    elif answer.kind == PUNCH:
        reign.garbage.punched(done, answer.freed, desk.now_s())
    elif answer.kind == DELETE:
        reign.observed.healed(answer.chunk_id, beat.server_id)
        reign.forget_stray(answer.chunk_id, beat.server_id)
        reign.repairs.answered(DELETE, done)
        reign.garbage.deleted(done, answer.freed, desk.now_s())
        with desk.kv.read() as reader:
            chunk = View(reader).chunk(answer.chunk_id)
        # Only what the tables call dead is forgotten; apply looks again.
        if chunk is not None and chunk.state == DEAD and answer.order_index >= chunk.dead_index:
            disks = [
                replica.disk_id for replica in chunk.replicas if replica.server_id == beat.server_id
            ]
            reign.note_deleted(answer.chunk_id, beat.server_id, disks)


def _repair_failed(desk: Desk, reign: Reign, server_id: ServerId, answer: OrderFailed) -> None:
    """Take the failure of an order of repair; what it means is planned with the next tick."""
    code = answer.failure.error
    done = (answer.chunk_id, server_id, answer.order_index)
    strike = partial(reign.orders.answered, server_id, answer.chunk_id)
    if answer.kind == COPY:
        if strike(answer.kind, answer.order_index):
            reign.repairs.failed(done, (code, answer.failure.message), desk.now_s())
            take_failed_link(reign, server_id, answer.failure, desk.now_s())
            _doubt_sources(desk, reign, server_id, answer)
    elif answer.kind == DELETE and code == StaleOrder.__name__:
        # An earlier leader had it kept: it is not deleted by this order any more.
        strike(answer.kind, answer.order_index)
        reign.repairs.answered(KEEP, done)
    elif answer.kind == KEEP and code == UnknownReplica.__name__:
        strike(answer.kind, answer.order_index)
        reign.repairs.answered(DELETE, done)  # It was deleted before it could be kept.
    elif answer.kind == COMPACT:
        strike(answer.kind, answer.order_index)
        reign.garbage.compacted(done, f"{code}: {answer.failure.message}")
    elif answer.kind == PUNCH and code in (UnknownReplica.__name__, ReplicaBusy.__name__):
        # It makes room for the order to stamp it first, and is given again with a later plan.
        strike(answer.kind, answer.order_index)
        if code == UnknownReplica.__name__:
            reign.repairs.doubt(answer.chunk_id, server_id)  # A holder without its copy.
    elif answer.kind == FINISH and code == ReplicaDamaged.__name__:
        # It lost bytes before it could stamp them: no holder, but a place to be healed.
        strike(answer.kind, answer.order_index)
        reign.observed.short(answer.chunk_id, server_id)
    elif answer.kind == FINISH and code == UnknownReplica.__name__:
        strike(answer.kind, answer.order_index)
        reign.repairs.doubt(answer.chunk_id, server_id)  # It went, with its disk perhaps.
    elif answer.kind == COMPARE and code == StaleOrder.__name__:
        # It is there, and has obeyed a newer order.
        strike(answer.kind, answer.order_index)
        reign.repairs.compared(answer.chunk_id, server_id, True)


def _doubt_sources(desk: Desk, reign: Reign, target: ServerId, answer: OrderFailed) -> None:
    """Have the holders of a chunk that could not be copied look at their copies."""
    with desk.kv.read() as reader:
        chunk = View(reader).chunk(answer.chunk_id)
    if chunk is None or answer.failure.error in (DiskFull.__name__, DiskFailed.__name__):
        return
    for holder in chunk.holders:
        if holder != target:
            reign.repairs.doubt(answer.chunk_id, holder)


def _compare_open(desk: Desk, reign: Reign, beat: Heartbeat) -> None:
    """Order what the tables say about replicas that are not sealed (C4, C7, G2 a).

    One of a chunk without a row is noted as a stray: what becomes of it, apply decides.
    """
    if not beat.open_replicas:
        return
    with desk.kv.read() as reader:
        view = View(reader)
        # Another part with every beat, if they are very many.
        start = beat.beat * OPEN_LOOKED_AT_MAX % len(beat.open_replicas)
        turned = beat.open_replicas[start:] + beat.open_replicas[:start]
        for replica in turned[:OPEN_LOOKED_AT_MAX]:
            chunk = view.chunk(replica.chunk_id)
            if chunk is None:
                reign.garbage.stray(beat.server_id, replica.disk_id, replica.chunk_id)
                continue
            order = order_for(beat.server_id, replica, chunk)
            if order is not None:
                reign.orders.want(beat.server_id, order)


def note_strays(reign: Reign, plans: Sequence[Plan]) -> None:
    """Note what a comparison of tallies found: replicas of chunks without a row (G2)."""
    strays = [stray for plan in plans for stray in plan.strays]
    reign.note_strays((server_id, chunk_id) for server_id, _, chunk_id in strays)
    for place in strays:
        reign.garbage.stray(*place)
