"""Streams between data ports, the pool that keeps them, and the client's view of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, CLUSTER, House, street
from replica_house import digest_of, noise

from gfs_ha.client.data_ports import DataPorts
from gfs_ha.errors import ChunkUnavailable, DeadlineExceeded, Unreachable
from gfs_ha.ids import LogIndex, ServerId
from gfs_ha.limits import MIB
from gfs_ha.net.answers import Deadline
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import StreamListener, TcpStream, TcpStreams
from gfs_ha.protocol.metadata import DISK, ChunkAllocated, ChunkLocations, Location
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
NETWORK = TcpStreams(RUNTIME)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def listener(stack: ExitStack) -> StreamListener:
    made = NETWORK.listen(("127.0.0.1", 0))
    stack.callback(made.close)
    return made


def pair(listener: StreamListener, stack: ExitStack) -> tuple[TcpStream, TcpStream]:
    near = NETWORK.connect(("127.0.0.1", listener.port), 2.0)
    far = listener.accept()
    assert isinstance(far, TcpStream)
    stack.callback(near.close)
    stack.callback(far.close)
    return near, far


def soon() -> Deadline:
    return Deadline(RUNTIME, 0.3)


def test_parts_arrive_as_one_run_of_bytes(listener: StreamListener, stack: ExitStack) -> None:
    near, far = pair(listener, stack)
    near.send([b"ab", memoryview(b""), bytearray(b"cde")], soon().stall)
    into = memoryview(bytearray(5))
    far.receive(into, soon().stall)
    assert into == b"abcde"


def test_a_receive_ends_at_the_callers_deadline(listener: StreamListener, stack: ExitStack) -> None:
    near, far = pair(listener, stack)
    near.send([b"only this"], soon().stall)
    with pytest.raises(DeadlineExceeded):
        far.receive(memoryview(bytearray(100)), soon().stall)


def test_a_send_that_nobody_takes_ends_at_the_callers_deadline(
    listener: StreamListener, stack: ExitStack
) -> None:
    near, _ = pair(listener, stack)
    with pytest.raises(DeadlineExceeded):
        near.send([bytes(64 * MIB)], soon().stall)


def test_a_peer_that_is_gone_is_noticed(listener: StreamListener, stack: ExitStack) -> None:
    near, far = pair(listener, stack)
    far.close()
    with pytest.raises(Unreachable, match="hung up"):
        near.receive(memoryview(bytearray(1)), soon().stall)
    assert not near.idle()


def test_what_was_sent_last_is_read_after_the_peer_hung_up(
    listener: StreamListener, stack: ExitStack
) -> None:
    near, far = pair(listener, stack)
    near.send([bytes(100_000)], soon().stall)
    far.send([b"no, thanks"], soon().stall)
    far.hang_up(0.2)
    far.close()
    into = memoryview(bytearray(10))
    near.receive(into, soon().stall)
    assert into == b"no, thanks"


def test_a_listener_that_is_closed_says_so(listener: StreamListener) -> None:
    listener.close()
    with pytest.raises(Unreachable):
        listener.accept()


def test_a_stream_that_is_given_back_is_used_again(
    listener: StreamListener, stack: ExitStack
) -> None:
    pool = StreamPool(NETWORK, RUNTIME)
    stack.callback(pool.close)
    address = ("127.0.0.1", listener.port)
    first = pool.take(address)
    pool.give_back(address, first)
    assert pool.take(address) is first
    first.close()


def test_a_stream_that_died_in_the_pool_is_replaced(
    listener: StreamListener, stack: ExitStack
) -> None:
    pool = StreamPool(NETWORK, RUNTIME)
    stack.callback(pool.close)
    address = ("127.0.0.1", listener.port)
    first = pool.take(address)
    far = listener.accept()
    assert far is not None
    pool.give_back(address, first)
    far.close()
    second = pool.take(address)
    assert second is not first
    second.close()


def test_a_pool_keeps_a_bounded_number_for_each_address(
    listener: StreamListener, stack: ExitStack
) -> None:
    pool = StreamPool(NETWORK, RUNTIME)
    stack.callback(pool.close)
    address = ("127.0.0.1", listener.port)
    streams = [pool.take(address) for _ in range(12)]
    for stream in streams:
        pool.give_back(address, stream)
    kept = [pool.take(address) for _ in range(8)]
    assert all(stream in streams for stream in kept)
    fresh = pool.take(address)
    assert fresh not in streams
    for stream in [*kept, fresh]:
        stream.close()


# As the client library uses them ----------------------------------------------------------------


def location(house: House) -> Location:
    hop = house.hop
    return Location(ServerId(hop.server_id), "cs", hop.host, hop.port, "r1", "here")


def test_the_data_plane_of_a_client_moves_a_chunk_there_and_back(tmp_path: Path) -> None:
    data = noise(700_000)
    with street(tmp_path) as houses:
        ports = DataPorts(CLUSTER, NETWORK, RUNTIME)
        replicas = tuple(location(house) for house in houses)
        chunk = ChunkAllocated(CHUNK, BIRTH, MIB, replicas, 3, 2, DISK)
        stream = ports.push(chunk, 0, MIB)
        stream.send(memoryview(data)[:300_000])
        stream.send(memoryview(data)[300_000:])
        assert [ack.end for ack in stream.finish()] == [len(data)] * 3
        houses[1].store.finish_seal(CHUNK, LogIndex(3), len(data), digest_of(data))
        where = ChunkLocations(CHUNK, BIRTH, True, len(data), digest_of(data), replicas)
        into = memoryview(bytearray(len(data)))
        assert ports.read(replicas[1], where, 0, into).sealed
        assert into == data
        assert ports.blocks(replicas[1], where).length == len(data)
        with pytest.raises(ChunkUnavailable):
            ports.read(replicas[0], where, 1, into)
        ports.close()


def test_a_lost_head_is_named_and_those_behind_it_are_not_blamed(tmp_path: Path) -> None:
    with street(tmp_path) as houses:
        replicas = tuple(location(house) for house in houses)
        houses[0].port.stop()
        assert houses[0].task.join(10.0)
        ports = DataPorts(CLUSTER, NETWORK, RUNTIME)
        chunk = ChunkAllocated(CHUNK, BIRTH, MIB, replicas, 3, 2, DISK)
        stream = ports.push(chunk, 0, MIB)
        acks = stream.finish()
        assert [(ack.server_id, ack.code) for ack in acks] == [(1, "Unreachable")]
        stream = ports.push(chunk, 0, MIB)
        with pytest.raises(Unreachable):
            stream.send(memoryview(bytes(MIB)))
        stream.abandon()
        ports.close()
