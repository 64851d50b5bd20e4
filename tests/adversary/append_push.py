"""One batch of records on its way along a chain, which any step on any server may follow."""

from __future__ import annotations

from typing import Any

import msgspec

from gfs_ha.chunk.appends.batch import Batch
from gfs_ha.chunk.appends.batch_push import _request, check_acks
from gfs_ha.chunk.appends.tail import Tail
from gfs_ha.chunk.local_end import LocalEnd
from gfs_ha.chunk.progress import DiskWatch
from gfs_ha.errors import GfsError, Unreachable
from gfs_ha.protocol.frames import ReplicaAck, failed_ack
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.records import pack_entries

PACKET = 20_000


class _Hop:
    def __init__(self, server: Any, local: LocalEnd, disk: DiskWatch) -> None:
        self.server = server
        self.life = server.life
        self.local = local
        self.disk = disk
        self.done = 0  # Steps: begin, packets, commit, acknowledge.
        self.acks: tuple[ReplicaAck, ...] | None = None

    @property
    def alive(self) -> bool:
        return bool(self.server.up and self.server.life == self.life)


class BatchRun:
    """One push along the chain, a step at a time; the primary hears of its end, if it lives."""

    def __init__(self, run: Any, head: Any, tail: Tail, batch: Batch) -> None:
        self.run, self.tail, self.batch = run, tail, batch
        self.over = False
        self.request = _request(head.room, tail, batch)
        entries = pack_entries(batch.entries)
        data = b"".join(one.data for one in batch.arrivals)
        self.packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)] or [b""]
        self.hops: list[_Hop] = []
        for number in (head.number, *[one.server_id for one in tail.chain.hops]):
            server = run.servers[number]
            request = msgspec.structs.replace(self.request, target=number)
            local = LocalEnd(server.store, request, entries)
            self.hops.append(_Hop(server, local, DiskWatch(head.room.runtime)))
        self.steps = len(self.packets) + 2

    def server_of(self, hop: int) -> Any:
        return self.hops[hop].server

    def ready(self) -> list[int]:
        """Return the hops that may go on."""
        if self.over:
            return []
        if not self.hops[0].alive:
            self._break(1)
            self.over = True
            return []
        found = []
        for position, hop in enumerate(self.hops):
            above = self.hops[position - 1] if position else None
            if not hop.alive or hop.acks is not None:
                continue
            if above is not None and not above.alive and hop.done < self.steps - 1:
                self._break(position)
                continue
            fed = above is None or above.done > hop.done or hop.done >= self.steps - 1
            if hop.done < self.steps:
                if fed:
                    found.append(position)
                continue
            below = self.hops[position + 1] if position + 1 < len(self.hops) else None
            if below is None or below.acks is not None or not below.alive:
                found.append(position)
        return found

    def advance(self, position: int) -> None:
        hop = self.hops[position]
        step, hop.done = hop.done, hop.done + 1
        if step == 0:
            hop.local.begin(hop.disk)
        elif step < self.steps - 1:
            packet = memoryview(self.packets[step - 1])
            if packet:
                at = self.request.offset + (step - 1) * PACKET
                hop.local.append(packet, part_crcs(at, packet))
        elif step == self.steps - 1:
            hop.local.commit()
        else:
            self._acknowledge(position)

    def _acknowledge(self, position: int) -> None:
        hop = self.hops[position]
        below: tuple[ReplicaAck, ...] = ()
        if position + 1 < len(self.hops):
            next_hop = self.hops[position + 1]
            if next_hop.acks is not None and self.run.rng.random() < 0.97:
                below = next_hop.acks
            else:
                gone = Unreachable("it is gone")
                below = (failed_ack(next_hop.server.number, gone),)
                self._break(position + 1)
        hop.acks = (hop.local.ack(), *below)
        hop.local.close()
        if position == 0:
            self.over = True
            try:
                check_acks(self.tail.name, hop.acks, self.request)
            except GfsError as error:
                if self.batch.arrivals:
                    self.tail.fail(self.batch, error)
                else:
                    self.tail.skip_note()
            else:
                self.tail.landed(self.batch)
            self.tail.done()

    def _break(self, position: int) -> None:
        """The stream from above is gone: what had not come yet never comes."""
        for hop in self.hops[position:]:
            if hop.alive and hop.acks is None:
                hop.acks = ()
                hop.local.close()
