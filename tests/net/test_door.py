"""What a door promises its service and its well-behaved peers."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time

import pytest
from door_house import (
    BIG,
    BREAK,
    ECHO,
    GREETING,
    LATER,
    NONSENSE,
    PATIENCE_S,
    REFUSE,
    House,
    Service,
)

from gfs_ha.errors import NotReady, PortTaken
from gfs_ha.limits import CALLS_IN_FLIGHT_DEFAULT
from gfs_ha.net import door as doors
from gfs_ha.net import sockets
from gfs_ha.net.channel import Channel, ChannelLimits
from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
from gfs_ha.net.network import Connection, Hello
from gfs_ha.net.rpc import Reply, encode_request


def test_a_call_brings_back_the_bytes_of_the_service(channel: Channel, service: Service) -> None:
    assert channel.call(ECHO, b"context", b"body", PATIENCE_S) == b"context/body"
    assert service.asked == [(ECHO, b"context", b"body")]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 63_999, 64_001, 1 << 20, 4_000_000])
def test_bodies_of_all_sizes_come_and_go(channel: Channel, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    assert channel.call(ECHO, b"", body, PATIENCE_S) == b"/" + body


def test_many_calls_on_one_connection_are_answered_in_any_thread(channel: Channel) -> None:
    wrong: list[bytes] = []

    def call(name: int) -> None:
        for index in range(200):
            body = b"%d-%d" % (name, index)
            answer = channel.call(ECHO, b"", body, PATIENCE_S)
            if answer != b"/" + body:
                wrong.append(answer)

    threads = [threading.Thread(target=call, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not wrong


def test_pipelined_calls_are_all_answered(channel: Channel) -> None:
    futures = [channel.call_async(ECHO, b"", b"%d" % i, PATIENCE_S) for i in range(2000)]
    assert [f.result(PATIENCE_S) for f in futures] == [b"/%d" % i for i in range(2000)]


def test_one_write_with_many_frames_is_answered_frame_by_frame(house: House, door: Door) -> None:
    peer = house.peer(door.port)
    calls = [encode_request(i, ECHO, b"", b"%d" % i) for i in range(1, 500)]
    peer.send(encode_request(0, 0, b"", GREETING) + b"".join(calls))
    assert peer.reply() == Reply(0, b"welcome")
    assert [peer.reply() for _ in calls] == [Reply(i, b"/%d" % i) for i in range(1, 500)]


def test_deferred_answers_arrive_in_the_order_they_are_given(
    channel: Channel, service: Service
) -> None:
    futures = {
        name: channel.call_async(LATER, b"", name, PATIENCE_S) for name in (b"a", b"b", b"c")
    }
    at_once = channel.call(ECHO, b"", b"not held up", PATIENCE_S)
    assert at_once == b"/not held up"
    for name in (b"c", b"a", b"b"):
        assert service.take(name).reply(b"answer " + name)
        assert futures[name].result(PATIENCE_S) == b"answer " + name
    assert not service.abandoned


def test_a_deferred_that_was_answered_before_it_was_returned_works(house: House) -> None:
    class Hasty(Service):
        def handle(self, connection, method, context, body):  # type: ignore[no-untyped-def]
            deferred = self._defer(body)
            assert deferred.reply(b"early")
            return deferred

    service = Hasty()
    channel = house.dial(house.open_door(service).port)
    assert channel.call(LATER, b"", b"x", PATIENCE_S) == b"early"


def test_only_the_first_answer_counts(channel: Channel, service: Service) -> None:
    future = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    deferred = service.take(b"a")
    assert deferred.reply(b"first")
    assert not deferred.reply(b"second")
    assert future.result(PATIENCE_S) == b"first"


def test_a_deferred_without_an_answer_ends_with_an_error_at_its_deadline(
    channel: Channel, service: Service, door: Door
) -> None:
    answer = channel.call(LATER, b"", b"a:150", PATIENCE_S)
    assert answer.startswith(b"DeadlineExceeded: ")
    deferred = service.take(b"a")
    assert deferred.closed and not deferred.reply(b"too late")
    assert service.abandoned == [b"a"]
    stats = door.stats()
    assert stats.calls_expired == 1 and stats.calls_in_flight == 0


def test_no_deferred_outlives_the_cap_of_the_door(house: House, service: Service) -> None:
    door = house.open_door(service, DoorLimits(call_deadline_max_s=0.15))
    channel = house.dial(door.port)
    answer = channel.call(LATER, b"", b"a:3600000", PATIENCE_S)
    assert answer.startswith(b"DeadlineExceeded: ")


def test_a_deferred_whose_caller_went_away_is_closed(
    house: House, door: Door, service: Service
) -> None:
    channel = house.dial(door.port)
    channel.call_async(LATER, b"", b"a", PATIENCE_S)
    deferred = service.take(b"a")
    assert not deferred.closed
    channel.close()
    service.wait(lambda: service.abandoned == [b"a"])
    assert deferred.closed and not deferred.reply(b"to nobody")


def test_an_answer_that_races_with_the_deadline_is_given_once(house: House) -> None:
    service = Service()
    door = house.open_door(service)
    channel = house.dial(door.port)
    for index in range(30):
        name = b"%d" % index
        future = channel.call_async(LATER, b"", name + b":50", PATIENCE_S)
        deferred = service.take(name)
        future_answer = future.result(PATIENCE_S) if index % 2 else None
        won = deferred.reply(b"in time")
        answer = future_answer or future.result(PATIENCE_S)
        assert (answer == b"in time") == won
    assert door.stats().calls_in_flight == 0


def test_an_error_of_the_service_is_answered_in_its_own_words(channel: Channel) -> None:
    assert channel.call(REFUSE, b"", b"/x", PATIENCE_S) == b"NotFound: no /x"


def test_a_mistake_in_the_service_is_an_error_for_that_call_only(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert channel.call(BREAK, b"", b"", PATIENCE_S).startswith(b"InternalError: ")
        assert channel.call(NONSENSE, b"", b"", PATIENCE_S).startswith(b"InternalError: ")
    assert "ZeroDivisionError" in caplog.text
    assert channel.call(ECHO, b"", b"fine", PATIENCE_S) == b"/fine"


def test_an_answer_that_fits_no_frame_becomes_an_error(channel: Channel) -> None:
    assert channel.call(BIG, b"", b"4194304", PATIENCE_S).startswith(b"LimitExceeded: ")
    assert len(channel.call(BIG, b"", b"4194000", PATIENCE_S)) == 4_194_000


def test_a_peer_of_another_cluster_is_told_so_and_disconnected(
    house: House, door: Door, service: Service
) -> None:
    peer = house.peer(door.port)
    calls = b"".join(encode_request(i, ECHO, b"", b"x" * 900) for i in range(1, 500))
    peer.send(encode_request(0, 0, b"", b"cluster-2") + calls)
    assert peer.reply() == Reply(0, b"WrongCluster: this is cluster-1, not cluster-2")
    with pytest.raises(EOFError):
        peer.reply()
    assert not service.asked


def test_a_call_before_the_hello_drops_the_connection(
    house: House, door: Door, service: Service
) -> None:
    peer = house.peer(door.port)
    peer.send(encode_request(0, ECHO, b"", b""))
    assert peer.dropped() and not service.asked


def test_a_second_hello_drops_the_connection(house: House, door: Door) -> None:
    peer = house.peer(door.port).greet()
    peer.send(encode_request(1, 0, b"", GREETING))
    assert peer.dropped()


def test_a_sequence_in_flight_twice_drops_the_connection(
    house: House, door: Door, service: Service
) -> None:
    peer = house.peer(door.port).greet()
    peer.send(encode_request(1, LATER, b"", b"a"))
    service.take(b"a")
    peer.send(encode_request(1, LATER, b"", b"b"))
    assert peer.dropped()
    service.wait(lambda: service.abandoned == [b"a"])


def test_a_peer_with_too_many_calls_in_flight_has_to_wait(
    house: House, door: Door, service: Service
) -> None:
    peer = house.peer(door.port).greet()
    limit = CALLS_IN_FLIGHT_DEFAULT
    peer.send(b"".join(encode_request(i, LATER, b"", b"%d" % i) for i in range(1, limit + 50)))
    service.wait(lambda: len(service.deferred) == limit)
    # Another peer is served meanwhile, and has had its turn before this one gets more.
    assert house.dial(door.port).call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
    assert len(service.deferred) == limit
    assert service.take(b"1").reply(b"done")
    assert peer.reply() == Reply(1, b"done")
    service.wait(lambda: len(service.deferred) == limit + 1)


def test_a_peer_that_waits_with_calls_in_flight_and_leaves_is_noticed(
    house: House, door: Door, service: Service
) -> None:
    peer = house.peer(door.port).greet()
    limit = CALLS_IN_FLIGHT_DEFAULT
    peer.send(b"".join(encode_request(i, LATER, b"", b"%d" % i) for i in range(1, limit + 50)))
    service.wait(lambda: len(service.deferred) == limit)
    peer.close()
    service.wait(lambda: len(service.abandoned) == limit)


def test_a_peer_that_does_not_read_is_not_answered_beyond_the_limit(house: House) -> None:
    service = Service()
    door = house.open_door(service, DoorLimits(output_bytes_max=5 << 20))
    peer = house.peer(door.port, receive_buffer=4096).greet()
    peer.send(b"".join(encode_request(i, BIG, b"", b"1000000") for i in range(1, 200)))
    service.wait(lambda: len(service.asked) >= 6)
    channel = house.dial(door.port)
    assert channel.call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
    asked = sum(method == BIG for method, _, _ in service.asked)
    # Five MiB in the door's queue, the rest in the kernel's buffers.
    assert asked < 60 and door.stats().held_bytes < 8 << 20
    # It only had to wait: once it reads, it gets everything.
    assert [peer.reply().sequence for _ in range(1, 200)] == list(range(1, 200))


def test_who_asks_much_at_once_keeps_nobody_from_his_turn(house: House) -> None:
    service = Service()
    opened = house.open_door(service)
    many, one = house.peer(opened.port).greet(), house.peer(opened.port).greet()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(PATIENCE_S)

    opened.post(hold)
    assert held.wait(PATIENCE_S)
    count = 4 * doors._CALLS_PER_TURN
    many.send(b"".join(encode_request(i, ECHO, b"many", b"") for i in range(1, count + 1)))
    one.send(encode_request(1, ECHO, b"one", b""))
    go.set()
    service.wait(lambda: len(service.asked) == count + 1)
    before = [context for _, context, _ in service.asked].index(b"one")
    assert before <= doors._CALLS_PER_TURN
    assert [many.reply().sequence for _ in range(count)] == list(range(1, count + 1))


def test_output_that_the_socket_takes_at_once_holds_nothing_up(house: House) -> None:
    door = house.open_door(Service(), DoorLimits(output_bytes_max=1000))
    peer = house.peer(door.port).greet()
    peer.send(b"".join(encode_request(i, BIG, b"", b"2000") for i in range(1, 51)))
    assert [peer.reply().sequence for _ in range(1, 51)] == list(range(1, 51))


def test_what_all_peers_together_make_the_door_hold_is_limited(house: House) -> None:
    service = Service()
    door = house.open_door(service, DoorLimits(door_bytes_max=6 << 20))
    small = house.peer(door.port).greet()
    small.send(encode_request(1, ECHO, b"", b"s" * 100)[:-1])
    greedy = [house.peer(door.port).greet() for _ in range(4)]
    half = encode_request(1, ECHO, b"", b"x" * 4_000_000)[: 2 << 20]
    for peer in greedy:
        peer.send(half)
    # One of the four has to go; the honest small one stays.
    poller = select.poll()
    for peer in greedy:
        poller.register(peer.sock, select.POLLIN)
    assert poller.poll(PATIENCE_S * 1000)
    small.send(b"\n")
    assert small.reply() == Reply(1, b"/" + b"s" * 100)
    assert door.stats().held_bytes <= 6 << 20


def test_who_takes_nothing_until_the_kernel_gives_up_is_counted_and_told_of(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sockets, "_USER_TIMEOUT_MS", 200)
    service = Service()
    door = house.open_door(service, DoorLimits(write_stall_s=PATIENCE_S))
    peer = house.peer(door.port, receive_buffer=4096).greet()
    peer.send(encode_request(1, BIG, b"", b"400000"))
    deadline_s = time.monotonic() + PATIENCE_S
    while "took no answers, or is not to be reached" not in caplog.text:
        assert time.monotonic() < deadline_s, "it left no trace"
        time.sleep(0.02)
    assert door.stats().overdue == 1


def test_a_full_door_prefers_peers_that_said_hello(house: House) -> None:
    service = Service()
    door = house.open_door(service, DoorLimits(connections_max=3))
    stranger = house.peer(door.port)
    peers = [house.peer(door.port).greet() for _ in range(3)]
    assert stranger.dropped(), "it was there first, but never said who it is"
    late = house.stranger(door.port)
    assert late.dropped(), "no stranger is left to make room"
    for peer in peers:
        peer.send(encode_request(1, ECHO, b"", b"x"))
        assert peer.reply() == Reply(1, b"/x")
    assert door.stats().turned_away == 2


def test_a_mistake_in_the_hello_check_refuses_the_peer(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    class Careless(Service):
        def hello(self, connection: Connection, body: bytes) -> bytes:
            raise ZeroDivisionError

    peer = house.peer(house.open_door(Careless()).port)
    with caplog.at_level(logging.ERROR):
        peer.send(encode_request(0, 0, b"", GREETING))
        assert peer.reply().body.startswith(b"InternalError: ")
    with pytest.raises(EOFError):
        peer.reply()
    assert "ZeroDivisionError" in caplog.text


def test_a_port_in_use_is_named(house: House, door: Door, service: Service) -> None:
    with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{door.port}"):
        Door(house.runtime, ("127.0.0.1", door.port), service.hello, service)


def test_a_posted_action_runs_on_the_thread_of_the_door(house: House, door: Door) -> None:
    ran = threading.Event()
    names: list[str] = []

    def action() -> None:
        names.append(threading.current_thread().name)
        ran.set()

    def broken() -> None:
        raise ZeroDivisionError

    door.post(broken)
    door.post(action)
    assert ran.wait(PATIENCE_S) and names == ["door"]


def test_a_stopped_door_closes_its_port_and_its_connections(house: House) -> None:
    service = Service()
    door = Door(house.runtime, ("127.0.0.1", 0), service.hello, service, credentials=house.server)
    task = house.runtime.spawn("door", door.run)
    channel = house.dial(door.port)
    future = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    deferred = service.take(b"a")
    door.stop()
    assert task.join(PATIENCE_S)
    assert deferred.closed and not deferred.reply(b"")
    with pytest.raises(Exception, match="hung up"):
        future.result(PATIENCE_S)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", door.port), PATIENCE_S)
    with pytest.raises(NotReady):
        door.post(lambda: None)


def test_a_draining_door_answers_what_is_in_flight_and_takes_nothing_new(house: House) -> None:
    service = Service()
    door = Door(house.runtime, ("127.0.0.1", 0), service.hello, service, credentials=house.server)
    task = house.runtime.spawn("door", door.run)
    idle = house.dial(door.port)
    channel = house.dial(door.port)
    future = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    deferred = service.take(b"a")
    door.stop(drain_s=PATIENCE_S)
    assert idle.join(PATIENCE_S), "an idle connection is closed at once"
    assert task.running()
    assert deferred.reply(b"answered")
    assert future.result(PATIENCE_S) == b"answered"
    assert task.join(PATIENCE_S)


def test_an_idle_connection_is_closed_but_one_with_a_parked_call_is_not(house: House) -> None:
    service = Service()
    door = house.open_door(service, DoorLimits(idle_s=1.0))
    parked = house.dial(door.port)
    future = parked.call_async(LATER, b"", b"a", PATIENCE_S)
    idle = house.dial(door.port)
    assert idle.join(PATIENCE_S)
    assert service.take(b"a").reply(b"still here")
    assert future.result(PATIENCE_S) == b"still here"


def test_a_stock_rpyc_connection_with_the_one_opcode_is_understood(
    house: House, door: Door
) -> None:
    rpyc = pytest.importorskip("rpyc")
    sock = socket.create_connection(("127.0.0.1", door.port))
    if house.client is not None:
        sock = house.client.client_context().wrap_socket(sock, server_hostname="127.0.0.1")
    stream = rpyc.core.SocketStream(sock)
    channel = rpyc.core.Channel(stream, compress=False)
    connection = rpyc.core.protocol.Connection(rpyc.VoidService(), channel, {})
    try:
        assert connection.sync_request(64, 0, b"", GREETING) == b"welcome"
        assert connection.sync_request(64, ECHO, b"from", b"rpyc") == b"from/rpyc"
    finally:
        channel.close()
        connection._closed = True  # Its own close() would wait for an answer to CLOSE.


def test_ipv6_works_the_same(house: House, service: Service) -> None:
    try:
        door = Door(house.runtime, ("::1", 0), service.hello, service, credentials=house.server)
    except Exception as error:  # A machine without IPv6.
        pytest.skip(str(error))
    task = house.runtime.spawn("door", door.run)
    try:
        limits = ChannelLimits(PATIENCE_S)
        channel = Channel(("::1", door.port), Hello(GREETING), house.runtime, limits, house.client)
        assert channel.call(ECHO, b"", b"six", PATIENCE_S) == b"/six"
        channel.close()
        assert channel.join(PATIENCE_S)
    finally:
        door.stop()
        assert task.join(PATIENCE_S)
