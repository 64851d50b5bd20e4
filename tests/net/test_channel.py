"""What a channel promises its callers when the server, the network or the caller misbehaves."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import pytest
from door_house import BIG, ECHO, GREETING, LATER, PATIENCE_S, House, Service
from rpyc.core import brine, consts

from gfs_ha.errors import (
    DeadlineExceeded,
    GfsError,
    LimitExceeded,
    Overloaded,
    Unreachable,
    WrongCluster,
)
from gfs_ha.net.channel import Channel, ChannelLimits
from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
from gfs_ha.net.network import Hello
from gfs_ha.net.rpc import FrameReader, Request, encode_reply
from gfs_ha.net.sockets import connect
from gfs_ha.runtime import Future

SHORT_S = 0.15


class Script:
    """The server's side of one connection, as a test wants it: greets, then reads requests."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = FrameReader()
        assert self.request().method == 0
        self.send(encode_reply(0, b"welcome"))

    def request(self) -> Request:
        while (request := self._reader.next_request()) is None:
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return request

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait_for_hang_up(self) -> None:
        try:
            while self.sock.recv(65_536):
                pass
        except ConnectionResetError:
            pass


def failure(future: Future[bytes]) -> GfsError:
    with pytest.raises(GfsError) as caught:
        future.result(PATIENCE_S)
    return caught.value


def test_a_port_that_nobody_listens_on_is_unreachable(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port}") as caught:
        house.dial(port)
    assert caught.value.details["sent"] == 0


def test_a_host_that_swallows_connections_costs_no_more_than_the_deadline(house: House) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(4):  # Fill the queue of the listener: from then on SYNs are dropped.
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.append(sock)
        try:
            with pytest.raises(Unreachable) as caught:
                house.dial(address[1], ChannelLimits(connect_timeout_s=SHORT_S))
        finally:
            for sock in waiting:
                sock.close()
    assert caught.value.details["sent"] == 0


def test_a_resolver_that_hangs_costs_no_more_than_the_deadline(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    numeric = socket.getaddrinfo

    def hang(host: str, *args: object, **options: object) -> object:
        if options.get("flags"):
            return numeric(host, *args, **options)  # type: ignore[arg-type]
        released.wait(PATIENCE_S)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with pytest.raises(Unreachable, match=r"name\.invalid:7000.*resolved"):
            connect(("name.invalid", 7000), house.runtime, SHORT_S)
    finally:
        released.set()


def test_a_name_with_a_black_hole_first_is_reached_at_its_next_address(
    house: House, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    numeric = socket.getaddrinfo

    def two(host: str, *args: object, **options: object) -> object:
        if options.get("flags"):
            return numeric(host, *args, **options)  # type: ignore[arg-type]
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.1", 1)), (*kind, ("127.0.0.1", door.port))]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    connect(("master.test", 7000), house.runtime, PATIENCE_S).close()


def test_a_refused_hello_raises_what_the_answer_says(house: House, door: Door) -> None:
    def accept(answer: bytes) -> None:
        raise WrongCluster(answer.decode())

    with pytest.raises(WrongCluster, match="this is cluster-1"):
        house.dial(door.port, hello=Hello(b"cluster-2", accept))


@pytest.mark.parametrize(
    "banner",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"\0\0\0\x05\x01zzzzz\n", b"\xff\xff\xff\xff\0", b"\0\0"],
)
def test_a_server_of_another_kind_is_unreachable(house: House, banner: bytes) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(banner)

    with pytest.raises(Unreachable) as caught:
        house.dial(house.serve_bytes(script))
    assert caught.value.details["sent"] == 0


def test_a_server_that_never_answers_the_hello_is_unreachable(house: House) -> None:
    done = threading.Event()
    port = house.serve_bytes(lambda sock: done.wait(PATIENCE_S) and None)
    try:
        with pytest.raises(Unreachable, match="hello"):
            house.dial(port, ChannelLimits(connect_timeout_s=1.0))
    finally:
        done.set()


def test_a_call_whose_server_dies_may_have_been_executed(house: House) -> None:
    def script(sock: socket.socket) -> None:
        Script(sock).request()

    channel = house.dial(house.serve_bytes(script))
    with pytest.raises(Unreachable) as caught:
        channel.call(ECHO, b"", b"x", PATIENCE_S)
    assert caught.value.details["sent"] == 1
    assert channel.join(PATIENCE_S) and channel.closed
    with pytest.raises(Unreachable) as caught:
        channel.call(ECHO, b"", b"x", PATIENCE_S)
    assert caught.value.details["sent"] == 0, "a dead channel certainly sent nothing"


def exception(name: str) -> Callable[[int], bytes]:
    value = (("builtins", name), (7,), (), "")
    return lambda sequence: raw(consts.MSG_EXCEPTION, sequence, value)


def raw(kind: int, sequence: int, value: object) -> bytes:
    payload = brine.I1.pack(kind) + brine.dump((sequence, value))
    return len(payload).to_bytes(4, "big") + b"\0" + payload + b"\n"


HOSTILE_ANSWERS: dict[str, Callable[[int], bytes]] = {
    "system exit": exception("SystemExit"),
    "keyboard interrupt": exception("KeyboardInterrupt"),
    "netref": lambda s: raw(consts.MSG_REPLY, s, (consts.LABEL_REMOTE_REF, ("evil.Cls", 1, 2))),
    "freeze": lambda s: raw(
        consts.MSG_REQUEST,
        1,
        (
            consts.HANDLE_CALLATTR,
            (consts.LABEL_VALUE, (7, "__pow__", (6_000_000,), ())),
        ),
    ),
    "read my list": lambda s: raw(
        consts.MSG_REQUEST, 1, (consts.HANDLE_REPR, (consts.LABEL_LOCAL_REF, ("list", 1, 2)))
    ),
    "answer to nothing": lambda s: encode_reply(s + 1000, b""),
    "answer twice": lambda s: encode_reply(s, b"") * 2,
    "text": lambda s: raw(consts.MSG_REPLY, s, (consts.LABEL_VALUE, "text")),
    "compressed": lambda s: b"\0\0\0\x05\x01zzzzz\n",
    "endless": lambda s: b"\xff\xff\xff\xf0\0",
    "garbage": lambda s: os.urandom(1) + b"\x7f" + b"garbage" * 100,
}


@pytest.mark.parametrize("name", HOSTILE_ANSWERS)
def test_a_hostile_server_only_costs_its_connection(house: House, name: str) -> None:
    def script(sock: socket.socket) -> None:
        server = Script(sock)
        sequence = server.request().sequence
        server.request()
        server.send(HOSTILE_ANSWERS[name](sequence))
        server.wait_for_hang_up()

    channel = house.dial(house.serve_bytes(script))
    first = channel.call_async(ECHO, b"", b"1", PATIENCE_S)
    second = channel.call_async(ECHO, b"", b"2", PATIENCE_S)
    error = failure(second)
    assert isinstance(error, Unreachable) and error.details["sent"] == 1
    if name == "answer twice":
        assert first.result(PATIENCE_S) == b""
    else:
        assert isinstance(failure(first), Unreachable)
    assert channel.join(PATIENCE_S)


def test_half_an_answer_drops_the_connection_after_the_frame_deadline(house: House) -> None:
    def script(sock: socket.socket) -> None:
        server = Script(sock)
        server.send(encode_reply(server.request().sequence, b"x" * 100)[:50])
        server.wait_for_hang_up()

    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, frame_deadline_s=SHORT_S)
    channel = house.dial(house.serve_bytes(script), limits)
    with pytest.raises(Unreachable, match="finish a frame") as caught:
        channel.call(ECHO, b"", b"", PATIENCE_S)
    assert caught.value.details["sent"] == 1


def test_a_late_answer_is_thrown_away_and_the_connection_goes_on(
    channel: Channel, service: Service
) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        channel.call(LATER, b"", b"a", SHORT_S)
    assert caught.value.details["sent"] == 1
    assert channel.in_flight == 1, "the server still owes the answer"
    assert service.take(b"a").reply(b"late")
    for body in (b"b", b"c"):  # The late answer leaves in the turn of the first at the latest.
        assert channel.call(ECHO, b"", body, PATIENCE_S) == b"/" + body
    assert channel.in_flight == 0


def test_a_call_that_never_got_out_leaves_a_channel_that_works_or_none(
    house: House, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: memoryview) -> int:
        raise BlockingIOError

    channel = house.dial(door.port)
    with monkeypatch.context() as patch:
        patch.setattr(channel._wire, "send", full)
        with pytest.raises((DeadlineExceeded, Unreachable)) as caught:
            channel.call(ECHO, b"", b"lost", SHORT_S)
    assert caught.value.details["sent"] == 0
    if house.client is None:
        assert channel.call(ECHO, b"", b"next", PATIENCE_S) == b"/next"
    else:
        # It is sealed already, and what is sealed after it makes no sense without.
        assert channel.closed and channel.join(PATIENCE_S)


def test_the_deadline_of_an_asynchronous_call_ends_it(channel: Channel) -> None:
    future = channel.call_async(LATER, b"", b"a", SHORT_S)
    error = failure(future)
    assert isinstance(error, DeadlineExceeded) and error.details["sent"] == 1


def test_a_server_silent_for_a_whole_call_is_given_up(channel: Channel) -> None:
    patient = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    with pytest.raises(DeadlineExceeded):
        channel.call(LATER, b"", b"b", 1.1)
    error = failure(patient)
    assert isinstance(error, Unreachable) and error.details["sent"] == 1
    assert channel.join(PATIENCE_S)


def test_a_channel_full_of_calls_without_answers_is_given_up(house: House, door: Door) -> None:
    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, calls_in_flight_max=4)
    channel = house.dial(door.port, limits)
    for name in (b"a", b"b"):
        with pytest.raises(DeadlineExceeded):
            channel.call(LATER, b"", name, SHORT_S)
    assert channel.join(PATIENCE_S)


def test_a_call_beyond_the_limit_waits_for_its_place(
    house: House, door: Door, service: Service
) -> None:
    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, calls_in_flight_max=2)
    channel = house.dial(door.port, limits)
    parked = [channel.call_async(LATER, b"", name, PATIENCE_S) for name in (b"a", b"b")]
    with pytest.raises(Overloaded) as caught:
        channel.call(ECHO, b"", b"", SHORT_S)
    assert caught.value.details["sent"] == 0
    answers: list[bytes] = []
    waiting = threading.Thread(
        target=lambda: answers.append(channel.call(ECHO, b"", b"c", PATIENCE_S))
    )
    waiting.start()
    assert service.take(b"a").reply(b"done")
    waiting.join(PATIENCE_S)
    assert answers == [b"/c"]
    assert parked[0].result(PATIENCE_S) == b"done"


def test_closing_wakes_who_waits_for_a_place(house: House, door: Door) -> None:
    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, calls_in_flight_max=1)
    channel = house.dial(door.port, limits)
    parked = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    sent: list[str | int] = []
    started = threading.Barrier(9)

    def wait() -> None:
        started.wait(PATIENCE_S)
        try:
            channel.call(ECHO, b"", b"", 10 * PATIENCE_S)
        except GfsError as error:
            sent.append(error.details["sent"])

    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(8)]
    for thread in waiting:
        thread.start()
    started.wait(PATIENCE_S)
    with pytest.raises(Overloaded):  # Gives the others the time to get in line.
        channel.call(ECHO, b"", b"", SHORT_S)
    channel.close()
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert sent == [0] * 8
    assert failure(parked).details["sent"] == 1


def test_a_server_that_reads_nothing_gets_half_a_frame_and_no_more(house: House) -> None:
    done = threading.Event()

    def script(sock: socket.socket) -> None:
        Script(sock)
        done.wait(PATIENCE_S)

    channel = house.dial(house.serve_bytes(script))
    body = b"x" * 4_000_000
    try:
        for _ in range(10):  # The first ones fit into the kernel's buffers.
            future = channel.call_async(ECHO, b"", body, SHORT_S)
            if future.done():
                break
    finally:
        done.set()
    error = failure(future)
    assert isinstance(error, Unreachable) and error.details["sent"] == 0
    assert channel.closed


def test_a_call_that_found_no_room_in_the_socket_was_certainly_not_sent(house: House) -> None:
    done = threading.Event()

    def script(sock: socket.socket) -> None:
        Script(sock)
        done.wait(PATIENCE_S)

    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, calls_in_flight_max=1_000_000)
    channel = house.dial(house.serve_bytes(script), limits)
    try:
        for _ in range(100_000):
            future = channel.call_async(ECHO, b"", b"x" * 4000, 0.5)
            if future.done():
                break
    finally:
        done.set()
    assert failure(future).details["sent"] == 0


def test_a_call_too_big_for_a_frame_is_refused_here(channel: Channel) -> None:
    with pytest.raises(LimitExceeded) as caught:
        channel.call(ECHO, b"", b"x" * (4 << 20), PATIENCE_S)
    assert caught.value.details["sent"] == 0
    assert channel.call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
    assert channel.in_flight == 0


def test_an_idle_channel_hangs_up_by_itself_and_a_busy_one_does_not(
    house: House, door: Door, service: Service
) -> None:
    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, idle_close_s=1.0)
    busy = house.dial(door.port, limits)
    future = busy.call_async(LATER, b"", b"a", PATIENCE_S)
    idle = house.dial(door.port, limits)
    assert idle.join(PATIENCE_S) and idle.closed
    with pytest.raises(Unreachable) as caught:
        idle.call(ECHO, b"", b"", PATIENCE_S)
    assert caught.value.details["sent"] == 0
    assert service.take(b"a").reply(b"done") and future.result(PATIENCE_S) == b"done"


def test_a_channel_hangs_up_before_the_door_would_complain() -> None:
    idle_close_s = ChannelLimits().idle_close_s
    assert idle_close_s is not None and idle_close_s < DoorLimits().idle_s


def test_a_closed_channel_leaves_neither_thread_nor_descriptor(house: House, door: Door) -> None:
    def open_files() -> set[str]:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                found.add(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:
                continue
        return {name for name in found if name.startswith("socket:")}

    house.dial(door.port).call(ECHO, b"", b"", PATIENCE_S)
    before = open_files()
    threads = set(threading.enumerate())
    mine = []
    for _ in range(20):
        channel = Channel(
            ("127.0.0.1", door.port), Hello(GREETING), house.runtime, credentials=house.client
        )
        channel.call(BIG, b"", b"100000", PATIENCE_S)
        mine.append(channel)
    for channel in mine:
        channel.close()
        assert channel.join(PATIENCE_S)
    ends_s = time.monotonic() + PATIENCE_S
    while set(threading.enumerate()) - threads:  # Their last words may be left to them.
        assert time.monotonic() < ends_s, "a thread stays"
        time.sleep(0.01)
    peer = house.peer(door.port).greet()  # The door has seen the closes before this hello.
    peer.close()
    assert len(open_files() - before) <= 1
