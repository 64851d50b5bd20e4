"""Servers that work for longer than a ticket lives go on with the newer ones that they got."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from append_house import APPENDER, MAKING, start_of
from chunk_house import BIRTH, CHUNK, CLUSTER
from copy_house import DATA, order, seal
from msgspec.structs import replace
from replica_house import open_store, readable
from sealed_house import RUNTIME, Guarded, Leader, sealed_network, sealed_room, sealed_street

from gfs_ha.chunk.copying import Copying
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.source import SourceRoom
from gfs_ha.client.append_records import Appended, Record
from gfs_ha.client.append_stream import AppendStream
from gfs_ha.ids import DiskId, InodeId, LogIndex
from gfs_ha.limits import MIB
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.control import CopyReplica, CopySource, CreateReplica
from gfs_ha.protocol.data import cluster_hash
from gfs_ha.protocol.metadata import FileTail, Location
from gfs_ha.protocol.tickets import TicketsGiven
from gfs_ha.runtime import Future

OVER_MS = 1  # By the clock of any server that runs.
WAIT_S = 30.0


def place_of(one: Guarded, ticket: bytes) -> CopySource:
    hop = one.house.hop
    return CopySource(hop.server_id, hop.host, hop.port, ticket=ticket)


def test_a_copy_goes_on_with_the_tickets_of_its_order_as_it_came_again(tmp_path: Path) -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    with sealed_street(tmp_path, 1) as (one,):
        seal(one.house.store)

        def ordered(limit: int) -> CopyReplica:
            leader = Leader([one])  # The secret is another one each time.
            ticket = leader.ticket(one, byte_limit=limit)
            return replace(order([place_of(one, ticket)]), pass_=leader.given)

        def pause(copying: Copying, wanted: int) -> int:
            if copying.bytes_done:
                copying.go_on(ordered(len(DATA)), RUNTIME.monotonic_s())
            return min(wanted, MIB)

        with closing(StreamPool(sealed_network(), RUNTIME)) as streams:
            room = SourceRoom(cluster_hash(CLUSTER), streams, RUNTIME)
            Copying(store, room, ordered(MIB), pause).run()
        assert one.refused == {}
        assert readable(store.get(CHUNK), disk, len(DATA)) == DATA


def test_records_go_down_a_chain_with_the_tickets_that_it_was_given_last(tmp_path: Path) -> None:
    with sealed_street(tmp_path, 2) as (first, second), sealed_room() as room:
        leader, primary = Leader([first, second]), first.house.port.primary
        below = CreateReplica(CHUNK, BIRTH, MAKING, DiskId(0), "disk", 4 * MIB)
        second.house.port.primary.create(below)
        chain = (place_of(second, leader.ticket(second, ends_ms=OVER_MS)),)
        given = replace(leader.given, life_ms=OVER_MS)
        head = replace(below, chain=chain, primary_start=start_of(first.house), pass_=given)
        primary.create(head)
        RUNTIME.sleep(2 * OVER_MS / 1000)
        stale = [(CHUNK, (second.server_id,))]
        assert primary.stale_chains() == stale
        primary.renew_chain(CHUNK, TicketsGiven(leader.given, ()))
        assert primary.stale_chains() == stale, "there was none for the server below"
        newer = ((second.server_id, leader.ticket(second)),)
        primary.renew_chain(CHUNK, TicketsGiven(leader.given, newer))
        assert primary.stale_chains() == []
        with closing(AppendStream(room, grant(leader, first))) as stream:
            done: Future[Appended] = RUNTIME.future()
            stream.send(APPENDER, 1, [Record(1, b"a record", done)], alone=False)
            ends_s, answered = RUNTIME.monotonic_s() + WAIT_S, []
            while not answered and RUNTIME.monotonic_s() < ends_s:
                answered = [ack.sequence for ack in stream.receive(True)]
        assert answered == [1] and second.refused == {}
        for one in (first, second):
            assert one.house.store.fence(CHUNK, BIRTH, LogIndex(50)).end == len(b"a record")


def grant(leader: Leader, one: Guarded) -> AppendGrant:
    hop, start = leader.hop(one), start_of(one.house)
    place = Location(hop.server_id, "cs1", hop.host, hop.port, "r", "m", ticket=hop.ticket)
    tail = FileTail(CHUNK, BIRTH, 0, 0, one.server_id, start, LogIndex(1), (place,), leader.given)
    return AppendGrant(InodeId(1), tail, MIB, "disk", 60_000, MIB // 4)
