"""What must hold when it happens: whether a copy is due, and what may be destroyed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.ids import ANY_DISK, ChunkId, DiskId, ServerId, split_chunk_id
from gfs_ha.kv.ordered import Reader
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.rules import breaks
from gfs_ha.master.state.commands import (
    Command,
    CommitSeal,
    ConfirmCopy,
    DropReplica,
    PlaceChunk,
    PlaceCopy,
    decode_entry,
)
from gfs_ha.master.state.job_commands import SetJobPhase
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Server
from gfs_ha.master.state.server_modes import disk_modes, server_modes
from gfs_ha.master.state.tail_commands import FinishTail, PlaceTail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import DONE, RUNNING
from gfs_ha.protocol.metadata import MEMORY, FinishChunk
from gfs_ha.protocol.server_modes import IN_SERVICE
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.bay import Bay
from gfs_ha.sim.cluster.economy import BAY_S, Economy
from gfs_ha.sim.cluster.server import UNREAD_S, SimServer
from gfs_ha.sim.cluster.truth import Truth, replicas_on
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.world import World

_SURELY = 0.85  # A server that was heard within this share of its patience is not dead.
_PAUSE_S = 1.5  # Longer than a parked heartbeat.
_BACK_S = 6.0  # By then a server that came back has compared what it brought.
_BAY_BACK_S = 30.0  # The same of one of several disks: its place was lost, and tallies find it.
_TOLD_S = 1.5  # So long a command may take from its choice to its apply.

_Place = tuple[ServerId, DiskId]


@dataclass(slots=True)
class _Contact:
    """When a server was heard last, by any leader, and what it said of its disk."""

    heard_s: float = -1e9
    since_s: float = -1e9  # Since when it has been heard without a pause.
    beat: tuple[int, int] = (0, 0)
    # Since when it says of a disk that it is above the mark.
    full_since_s: dict[DiskId, float] = field(default_factory=dict)
    failed_since_s: dict[DiskId, float] = field(default_factory=dict)  # Or that it failed.


class Watch:
    """Looks at every command before it is applied, and at every file that goes."""

    def __init__(
        self,
        world: World,
        masters: dict[str, SimMaster],
        truth: Truth,
    ) -> None:
        self.copies_placed = 0
        self.commands: list[tuple[float, Command]] = []
        self.sealed_s: dict[ChunkId, float] = {}
        # Since when servers are met out of service: how their modes name that moment, and when.
        self._leaving_s: dict[ServerId | _Place, tuple[int, float]] = {}
        self.jobs_done: Counter[str] = Counter()
        self.moved_within = 0  # Copies, between the disks of one server.
        self._leading: list[tuple[str, int]] = []
        self._led_since_s = world.scheduler.now_s
        self._world = world
        self._masters = masters
        self._servers = {server.name: server for server in truth.servers}
        self._truth = truth
        self.contacts = {server.name: _Contact() for server in truth.servers}
        self.economy = Economy(
            truth,
            lambda server: world.scheduler.now_s - self.contacts[server.name].heard_s,
            world.dead_s,
        )
        world.ledger.on_command = self._command
        for server in truth.servers:
            server.on_unlink = self._unlinks

    def look(self) -> None:
        """Note who was heard."""
        now_s = self._world.scheduler.now_s
        leading = [(one.name, one.term) for one in self._masters.values() if one.leading]
        if leading != self._leading:
            self._leading, self._led_since_s = leading, now_s
        for master in self._masters.values():
            reign = master.desk.reign if master.desk is not None else None
            if reign is None:
                continue
            for server_id, facts in reign.observed.servers.items():
                contact = self.contacts.get(self._name(master, server_id))
                beat = (facts.start_id, facts.beat)
                if contact is None:
                    continue
                if facts.start_id != contact.beat[0]:
                    contact.full_since_s.clear()  # It may come with another disk.
                    contact.failed_since_s.clear()
                if facts.beat and contact.beat != beat:
                    contact.beat = beat
                    if now_s - contact.heard_s > _PAUSE_S:
                        contact.since_s = now_s
                    contact.heard_s = now_s
                    for disk in facts.disks:
                        if disk.total_bytes * (1 - HIGH_WATER) < disk.free_bytes:
                            contact.full_since_s.pop(disk.disk_id, None)
                        else:
                            contact.full_since_s.setdefault(disk.disk_id, now_s)
                        if disk.failed:
                            contact.failed_since_s.setdefault(disk.disk_id, now_s)
                        else:
                            contact.failed_since_s.pop(disk.disk_id, None)
        with self._truth.view() as view:
            changed: dict[ServerId | _Place, int] = {
                **{one: mode.since_wall_ns for one, mode in server_modes(view).items()},
                **{one: mode.since_wall_ns for one, mode in disk_modes(view).items()},
            }
        for place, since_wall_ns in changed.items():
            if self._leaving_s.get(place, (0, 0.0))[0] != since_wall_ns:
                self._leaving_s[place] = (since_wall_ns, now_s)
        self.economy.look()

    def _name(self, master: SimMaster, server_id: ServerId) -> str:
        with master.disk.held.read() as reader:
            server = View(reader).server(server_id)
        return server.name if server is not None else ""

    # Commands.

    def _command(self, index: int, payload: bytes, reader: Reader) -> None:
        command = decode_entry(payload).command
        self.commands.append((self._world.scheduler.now_s, command))
        view = View(reader)
        self.economy.note(view, command)
        if isinstance(command, PlaceCopy):
            self._check_copy(view, command)
        elif isinstance(command, ConfirmCopy):
            self._check_copy_counts(view, command)
        elif isinstance(command, DropReplica):
            self._check_drop(view, command)
        elif isinstance(command, SetJobPhase) and command.phase == DONE:
            self._check_emptied(view, command.number)
        elif isinstance(command, FinishChunk | CommitSeal):
            self.sealed_s[command.chunk_id] = self._world.scheduler.now_s
            for server_id in command.holders:
                end = (command.length, command.digest)
                self._check_whole(view, command.chunk_id, (server_id, ANY_DISK), end)
        elif isinstance(command, FinishTail):
            # Its last bytes may lie in the journals of its holders yet, and the slots lack them.
            self.sealed_s[command.chunk_id] = self._world.scheduler.now_s
        elif isinstance(command, PlaceChunk | PlaceTail):
            for place in command.replicas:
                self._check_service(view, place, f"a chunk at {index}")
                if isinstance(command, PlaceChunk):
                    self._check_room(view, place, f"a chunk at {index}")

    def _check_copy(self, view: View, command: PlaceCopy) -> None:
        chunk = view.chunk(command.chunk_id)
        if chunk is None or chunk.state != SEALED or chunk.sealed_index != command.sealed_index:
            return  # It will be refused.
        if len(chunk.holders) + len(chunk.copying) != command.seen:
            return
        job = get_job(view, command.job)
        if command.job and (job is None or job.phase != RUNNING):
            return
        self.copies_placed += 1
        what = f"a copy of chunk {command.chunk_id:#x}"
        row = view.server(command.server_id)
        known = (command.chunk_id, chunk)
        # Else it is there, and is adopted: also from who leaves, until others have theirs.
        there = row is not None and self._truth.holds(self._servers[row.name], *known)
        if not there:
            place = (command.server_id, command.disk_id)
            self._check_service(view, place, what)
            self._check_room(view, place, what)
        self.economy.copies_beside(view, command.chunk_id, chunk)
        if command.leaves in chunk.holders:
            self.economy.moves(command.chunk_id, chunk)
            return
        sure = [one for one in chunk.holders if self._surely_good(view, known, one)]
        coming = [
            one
            for one in chunk.copying
            if one.server_id not in sure and one.leaves != one.server_id  # That is no further one.
        ]
        back = [one.server_id for one in chunk.late if self._came_back(view, known, one.server_id)]
        if len(sure) + len(coming) < chunk.goal <= len(sure) + len(coming) + len(back):
            raise Violation(f"not adopted: {what} is placed, servers {back} hold it whole")
        rows = [row for one in sure if (row := view.server(one))]
        settings = view.settings()
        rule = chunk.rule or (settings.rule if settings is not None else "")
        if len(sure) + len(coming) < chunk.goal:
            # Whose bytes were destroyed just now may count yet where the copy is placed.
            heard = [row for one in chunk.holders if (row := view.server(one)) and self._heard(row)]
            if len(heard) + len(chunk.copying) >= chunk.goal and breaks(rule, chunk.goal, heard):
                self.economy.moves(command.chunk_id, chunk)
            return
        self.economy.moves(command.chunk_id, chunk)
        # Two planners may see to a chunk at once, and one count it: what is adopted costs nothing.
        if not there and not breaks(rule, chunk.goal, rows):
            names = [row.name for row in rows]
            raise Violation(
                f"needless copy: {what} is placed while {', '.join(names)} hold it whole and"
                f" {len(coming)} more are under way"
            )

    def _check_drop(self, view: View, command: DropReplica) -> None:
        """Check that who is said to have the other copies was heard just now (G3)."""
        chunk = view.chunk(command.chunk_id)
        if chunk is None or chunk.sealed_index != command.sealed_index:
            return  # It will be refused.
        for server_id in command.evidence:
            row = view.server(server_id)
            if row is None or server_id not in chunk.holders:
                return
            self.look()
            silent_s = self._world.scheduler.now_s - self.contacts[row.name].heard_s
            if silent_s > self._world.dead_s + _TOLD_S:
                raise Violation(
                    f"dropped by hearsay: a copy of chunk {command.chunk_id:#x} goes because"
                    f" {row.name} has one, who was not heard for {silent_s:.1f} s"
                )

    def _check_emptied(self, view: View, number: int) -> None:
        """Check that nothing that counts lies on a server or disk that is said to be empty."""
        job = get_job(view, number)
        row = None if job is None or job.ended else view.server(job.server_id)
        if job is None or row is None or not self._heard(row):
            return
        self.jobs_done[job.kind] += 1
        server = self._servers[row.name]
        for bay in server.bays:
            if job.disk_id not in (ANY_DISK, bay.disk_id) or not server.serves(bay):
                continue
            for chunk_id in replicas_on(bay.disk):
                chunk = view.chunk(chunk_id)
                if chunk is None or not self._truth.lies_on(bay.disk, chunk_id, chunk):
                    continue
                if not self._lies_elsewhere(job.server_id, bay, (chunk_id, chunk)):
                    raise Violation(
                        f"emptied too early: job {number} is done, and {bay.name} still has"
                        f" chunk {chunk_id:#x}"
                    )

    def _lies_elsewhere(self, server_id: ServerId, bay: Bay, known: tuple[ChunkId, Chunk]) -> bool:
        """Return whether the copy that counts is one on another disk of the same server."""
        chunk_id, chunk = known
        counted = {one.disk_id for one in chunk.replicas if one.server_id == server_id}
        return any(
            other.disk_id in counted - {bay.disk_id}
            and server.serves(other)
            and self._truth.lies_on(other.disk, chunk_id, chunk)
            for server in self._servers.values()
            for other in server.bays
        )

    def _check_copy_counts(self, view: View, command: ConfirmCopy) -> None:
        chunk = view.chunk(command.chunk_id)
        if chunk is not None and chunk.state == SEALED:
            within = [one for one in chunk.copying if one.leaves == one.server_id and one.job]
            self.moved_within += command.server_id in [one.server_id for one in within]
            end = (chunk.length, chunk.digest)
            # What came back by itself may lie on another disk than its row says, for a while.
            disk_id = command.disk_id if command.order_index else ANY_DISK
            place = (command.server_id, disk_id)
            self._check_whole(view, command.chunk_id, place, end)

    def _check_whole(
        self, view: View, chunk_id: ChunkId, place: _Place, end: tuple[int, int]
    ) -> None:
        """Check that a disk, or one of a server, has the bytes that count there from now on."""
        server_id, disk_id = place
        chunk, row = view.chunk(chunk_id), view.server(server_id)
        if chunk is None or row is None or chunk.gone:
            return
        if chunk.durability == MEMORY and self._servers[row.name].was_without_power:
            return  # What it acknowledged was in its memory.
        server = self._servers[row.name]
        length, digest = end
        sealed = msgspec.structs.replace(chunk, state=SEALED, length=length, digest=digest)
        if server.harmed_s >= self._world.scheduler.now_s - UNREAD_S:
            return
        if not any(
            self._truth.lies_on(bay.disk, chunk_id, sealed)
            for bay in server.bays
            if disk_id in (ANY_DISK, bay.disk_id)
        ):
            raise Violation(
                f"false copy: {server.name} has not the {length} bytes of chunk {chunk_id:#x}"
                " that count there from now on"
            )

    def _heard(self, row: Server) -> bool:
        silent_s = self._world.scheduler.now_s - self.contacts[row.name].heard_s
        return silent_s <= _SURELY * self._world.dead_s

    def _surely_good(self, view: View, known: tuple[ChunkId, Chunk], server_id: ServerId) -> bool:
        row = view.server(server_id)
        if row is None:
            return False
        server = self._servers[row.name]
        silent_s = self._world.scheduler.now_s - self.contacts[row.name].heard_s
        if silent_s > _SURELY * self._world.dead_s:
            return False
        return self._settled(server, known, BAY_S)

    def _settled(self, server: SimServer, known: tuple[ChunkId, Chunk], for_s: float) -> bool:
        """Return whether a server has a whole copy; of several disks, on one that serves long."""
        if len(server.bays) == 1:
            return self._truth.holds(server, *known)
        return any(
            self._truth.lies_on(bay.disk, *known)
            for bay in server.bays
            if server.serves(bay, for_s) and server.sees(bay, known[0])
        )

    def _came_back(self, view: View, known: tuple[ChunkId, Chunk], server_id: ServerId) -> bool:
        """Return whether a server holds a whole copy that should count by now (C7)."""
        row = view.server(server_id)
        if row is None or not self._surely_good(view, known, server_id):
            return False
        now_s, contact = self._world.scheduler.now_s, self.contacts[row.name]
        process = self._servers[row.name].process
        if process is None or process.stopped or now_s - contact.heard_s >= _PAUSE_S:
            return False
        if not self._settled(self._servers[row.name], known, _BAY_BACK_S):
            return False
        sealed_s = self.sealed_s.get(known[0], now_s)
        return now_s - max(contact.since_s, self._led_since_s, sealed_s) > _BACK_S

    def _check_service(self, view: View, place: _Place, what: str) -> None:
        """Check that nothing new comes to a server or disk that goes out of service."""
        server_id, disk_id = place
        row = view.server(server_id)
        modes = ((server_id, view.server_mode(server_id)), (place, view.disk_mode(*place)))
        for which, mode in modes:
            known = self._leaving_s.get(which)
            if row is None or mode is None or known is None or known[0] != mode.since_wall_ns:
                continue
            if mode.mode != IN_SERVICE and self._world.scheduler.now_s - known[1] > _TOLD_S:
                where = row.name if which == server_id else f"{row.name}:{disk_id:#x}"
                raise Violation(
                    f"out of service: {what} is placed on {where}, which is {mode.mode}"
                )

    def _check_room(self, view: View, place: _Place, what: str) -> None:
        row = view.server(place[0])
        if row is None:
            return
        self.look()
        contact, told_s = self.contacts[row.name], self._world.scheduler.now_s - _TOLD_S
        if contact.failed_since_s.get(place[1], told_s) < told_s:
            raise Violation(f"on a failed disk: {what} is placed on {row.name}:{place[1]:#x}")
        if contact.full_since_s.get(place[1], told_s) < told_s:
            raise Violation(f"above its mark: {what} is placed on {row.name}, known to be full")

    # Files that go.

    def _unlinks(self, server: SimServer, disk: MemoryDisk, name: str) -> None:
        if not name.endswith(".slot") or name not in disk.names():
            return
        reading = read_header(disk, name)
        if reading is None or reading.header.state in (State.COPYING, State.TOMBSTONE):
            return
        header = reading.header
        chunk_id = header.chunk_id
        with self._truth.view() as view:
            chunk = view.chunk(chunk_id)
            last_chunk = view.counters().last_chunk
        what = f"{server.name} destroys its replica of chunk {chunk_id:#x}"
        if chunk is None:
            if split_chunk_id(chunk_id)[1] > last_chunk:
                raise Violation(f"destroyed by opinion: {what}, which nobody knows yet")
            return
        if chunk.state == DEAD or header.birth != chunk.birth:
            return
        if chunk.state != SEALED:
            if header.end:
                raise Violation(f"destroyed alive: {what}, which is {chunk.state}")
            return
        if not self._truth.whole(chunk_id, chunk, but=(disk, name)):
            raise Violation(f"last copy destroyed: {what} of {chunk.length} bytes")
