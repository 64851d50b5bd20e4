"""What a pool promises: one channel per address, replaced when dead, never a call sent twice."""

from __future__ import annotations

import socket
import threading

import pytest
from door_house import ECHO, GREETING, LATER, PATIENCE_S, REFUSE, House, Service

from gfs_ha.errors import GfsError, Overloaded, Unreachable, WrongCluster
from gfs_ha.net.channel import ChannelLimits
from gfs_ha.net.door import Door
from gfs_ha.net.network import Address, Caller, Hello
from gfs_ha.net.pool import Pool, PoolLimits
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.runtime import Future


def address(door: Door) -> Address:
    return ("127.0.0.1", door.port)


def make_pool(house: House, limits: PoolLimits | None = None, hello: Hello | None = None) -> Pool:
    limits = limits or PoolLimits(connect_timeout_s=PATIENCE_S)
    network = TcpNetwork(house.runtime, channel_limits=ChannelLimits(connect_timeout_s=PATIENCE_S))
    pool = Pool(hello or Hello(GREETING), house.runtime, limits, network)
    house.stack.callback(pool.close)
    return pool


@pytest.fixture
def pool(house: House) -> Pool:
    return make_pool(house)


def free_address() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return ("127.0.0.1", listener.getsockname()[1])


def test_all_callers_of_an_address_share_one_connection(pool: Pool, door: Door) -> None:
    answers: list[bytes] = []
    start = threading.Barrier(8)

    def call(name: int) -> None:
        start.wait(PATIENCE_S)
        answers.append(pool.call(address(door), ECHO, b"", b"%d" % name, PATIENCE_S))

    threads = [threading.Thread(target=call, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(answers) == [b"/%d" % name for name in range(8)]
    assert door.stats().accepted == 1


def test_an_asynchronous_call_dials_too_and_brings_its_errors_in_the_future(
    pool: Pool, door: Door
) -> None:
    future = pool.call_async(address(door), ECHO, b"", b"x", PATIENCE_S)
    assert future.result(PATIENCE_S) == b"/x"
    with pytest.raises(Unreachable):
        pool.call_async(free_address(), ECHO, b"", b"", PATIENCE_S).result(PATIENCE_S)


def test_a_restarted_server_is_dialled_again(house: House, pool: Pool) -> None:
    first = Door(house.runtime, ("127.0.0.1", 0), Service().hello, Service())
    task = house.runtime.spawn("first", first.run)
    assert pool.call(address(first), ECHO, b"", b"1", PATIENCE_S) == b"/1"
    first.stop()
    assert task.join(PATIENCE_S)
    second = house.open_door(Service(), port=first.port)
    # The old channel may not know yet that it is dead: then the call may have been sent, and
    # the pool, which never sends twice, must say so.
    for _ in range(2):
        try:
            answer = pool.call(address(second), ECHO, b"", b"2", PATIENCE_S)
            break
        except Unreachable as error:
            assert error.details["sent"] == 1
    assert answer == b"/2"


def test_an_address_that_failed_is_left_alone_for_a_moment(house: House) -> None:
    limits = PoolLimits(
        connect_timeout_s=PATIENCE_S, backoff_first_s=PATIENCE_S, backoff_longest_s=PATIENCE_S
    )
    pool = make_pool(house, limits)
    where = free_address()
    with pytest.raises(Unreachable) as caught:
        pool.call(where, ECHO, b"", b"", PATIENCE_S)
    assert "retry_ms" not in caught.value.details
    with pytest.raises(Unreachable, match="moment ago") as caught:
        pool.call(where, ECHO, b"", b"", PATIENCE_S)
    assert caught.value.details["sent"] == 0
    assert 0 < int(caught.value.details["retry_ms"]) <= PATIENCE_S * 1000


def test_an_address_that_failed_is_served_once_it_is_back(house: House, pool: Pool) -> None:
    where = free_address()
    with pytest.raises(Unreachable):
        pool.call(where, ECHO, b"", b"", PATIENCE_S)
    house.open_door(Service(), port=where[1])
    deadline_s = house.runtime.monotonic_s() + PATIENCE_S
    while True:
        try:
            assert pool.call(where, ECHO, b"", b"back", PATIENCE_S) == b"/back"
            break
        except Unreachable as error:
            assert house.runtime.monotonic_s() < deadline_s
            threading.Event().wait(int(error.details["retry_ms"]) / 1000)


class CountingNetwork(TcpNetwork):
    """Dials for real, and holds each dial up until it may go on."""

    def __init__(self, house: House) -> None:
        super().__init__(house.runtime)
        self.dials = 0
        self.dialing = threading.Event()
        self.go_on = threading.Event()

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> Caller:  # type: ignore[override]
        self.dials += 1
        self.dialing.set()
        assert self.go_on.wait(PATIENCE_S)
        return super().dial(address, hello, timeout_s)


def test_one_dial_serves_all_who_wait_for_it(house: House, door: Door) -> None:
    network = CountingNetwork(house)
    pool = Pool(Hello(GREETING), house.runtime, network=network)
    house.stack.callback(pool.close)
    answers: list[bytes] = []

    def call() -> None:
        answers.append(pool.call(address(door), ECHO, b"", b"", PATIENCE_S))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert network.dialing.wait(PATIENCE_S)
    # Who cannot wait for somebody else's dial is told that nothing was sent.
    with pytest.raises(Unreachable, match="still being dialled") as caught:
        pool.call(address(door), ECHO, b"", b"", 0.01)
    assert caught.value.details["sent"] == 0
    network.go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == [b"/"] * 4 and network.dials == 1


class DyingCaller:
    """Looks alive until it is called."""

    closed = False
    in_flight = 0

    def __init__(self, sent: int) -> None:
        self._sent = sent

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        self.closed = True
        raise Unreachable("it had died a moment before", sent=self._sent)

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        raise AssertionError("not asked for here")

    def close(self) -> None:
        self.closed = True


class DyingNetwork(TcpNetwork):
    """Dials for real, except that one channel is a dying one."""

    def __init__(self, house: House, sent: int) -> None:
        super().__init__(house.runtime)
        self.dying: DyingCaller | None = None
        self.sent = sent

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> Caller:  # type: ignore[override]
        if self.dying is None:
            self.dying = DyingCaller(self.sent)
            return self.dying
        return super().dial(address, hello, timeout_s)


def dying_pool(house: House, door: Door, sent: int) -> Pool:
    """Return a pool that holds a channel which is about to be found dead."""
    network = DyingNetwork(house, sent)
    pool = Pool(Hello(GREETING), house.runtime, network=network)
    house.stack.callback(pool.close)
    with pytest.raises(Unreachable):
        pool.call(address(door), ECHO, b"", b"fresh: not tried again", PATIENCE_S)
    assert network.dying is not None
    network.dying.closed = False
    return pool


def test_a_channel_found_dead_before_anything_was_sent_is_replaced(
    house: House, door: Door
) -> None:
    pool = dying_pool(house, door, sent=0)
    assert pool.call(address(door), ECHO, b"", b"x", PATIENCE_S) == b"/x"


def test_a_call_that_may_have_been_sent_is_never_sent_again(house: House, door: Door) -> None:
    pool = dying_pool(house, door, sent=1)
    with pytest.raises(Unreachable) as caught:
        pool.call(address(door), ECHO, b"", b"x", PATIENCE_S)
    assert caught.value.details["sent"] == 1
    assert door.stats().calls == 0


def test_a_pool_closed_during_a_dial_keeps_no_channel(house: House, door: Door) -> None:
    network = CountingNetwork(house)
    pool = Pool(Hello(GREETING), house.runtime, network=network)
    errors: list[GfsError] = []

    def call() -> None:
        try:
            pool.call(address(door), ECHO, b"", b"", PATIENCE_S)
        except GfsError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert network.dialing.wait(PATIENCE_S)
    pool.close()
    network.go_on.set()
    thread.join(PATIENCE_S)
    assert [error.details["sent"] for error in errors] == [0]


def test_a_full_pool_gives_up_the_address_longest_unused(house: House) -> None:
    pool = make_pool(house, PoolLimits(addresses_max=2))
    doors = [house.open_door(Service()) for _ in range(3)]
    for door in (*doors, doors[2], doors[0]):
        assert pool.call(address(door), ECHO, b"", b"", PATIENCE_S) == b"/"
    # The first was given up for the third, and dialled again in place of the second.
    assert [door.stats().accepted for door in doors] == [2, 1, 1]


def test_a_full_pool_of_busy_channels_says_so(house: House, service: Service) -> None:
    pool = make_pool(house, PoolLimits(addresses_max=1))
    busy = house.open_door(service)
    future = pool.call_async(address(busy), LATER, b"", b"a", PATIENCE_S)
    with pytest.raises(Overloaded) as caught:
        pool.call(free_address(), ECHO, b"", b"", PATIENCE_S)
    assert caught.value.details["sent"] == 0
    assert service.take(b"a").reply(b"done") and future.result(PATIENCE_S) == b"done"


def test_a_refused_hello_is_the_callers_error(house: House, door: Door) -> None:
    def accept(answer: bytes) -> None:
        raise WrongCluster(answer.decode())

    pool = make_pool(house, hello=Hello(b"cluster-2", accept))
    with pytest.raises(WrongCluster):
        pool.call(address(door), ECHO, b"", b"", PATIENCE_S)


def test_a_closed_pool_refuses_calls(pool: Pool, door: Door) -> None:
    assert pool.call(address(door), REFUSE, b"", b"x", PATIENCE_S) == b"NotFound: no x"
    pool.close()
    with pytest.raises(Unreachable) as caught:
        pool.call(address(door), ECHO, b"", b"", PATIENCE_S)
    assert caught.value.details["sent"] == 0
