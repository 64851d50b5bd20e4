"""One contract over the streams of the data plane: TCP, and its twin in virtual time.

Each test is two bodies of blocking code, one for each end, that run beside each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Protocol

import pytest

from gfs_ha.errors import DeadlineExceeded, GfsError, Unreachable
from gfs_ha.limits import KIB, MIB
from gfs_ha.net.network import Address
from gfs_ha.net.streams import STALL_SLICE_S, Stream, StreamListener, StreamNetwork, TcpStreams
from gfs_ha.runtime import Runtime, Task, ThreadedRuntime
from gfs_ha.sim.cluster.runtime import BusyRuntime
from gfs_ha.sim.cluster.streams import Kernel, SimStreams
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.tasks import TaskScheduler
from gfs_ha.sim.network import Network

WAIT_S = 30.0
MORE_THAN_FITS = 16 * MIB  # Into the buffers between two ends.


class End:
    """One end of a stream and what its body needs."""

    def __init__(self, stream: Stream, runtime: Runtime) -> None:
        self.stream = stream
        self.runtime = runtime

    def send(self, *parts: bytes) -> None:
        self.stream.send(parts, patient)

    def receive(self, count: int) -> bytes:
        into = memoryview(bytearray(count))
        self.stream.receive(into, patient)
        return bytes(into)

    def until_there(self) -> None:
        assert self.stream.wait(WAIT_S)

    def fails(self, act: Callable[[], object]) -> GfsError:
        """Return what an act raises, which it must, at the latest when repeated for a while."""
        ends_s = self.runtime.monotonic_s() + WAIT_S
        while self.runtime.monotonic_s() < ends_s:
            try:
                act()
            except Unreachable as error:
                return error
            self.runtime.sleep(0.02)
        raise AssertionError("nothing was raised")


def patient(idle_s: float) -> None:
    assert idle_s < WAIT_S, "nothing moves"


Body = Callable[[End], None]


class World(Protocol):
    """Two machines. What a body raises is raised by `play`."""

    def play(self, near: Body, far: Body) -> None:
        """Have the first dial the second, and run a body at each end to its end."""
        ...

    def dial_nobody(self) -> GfsError: ...

    def close(self) -> None: ...


def answer(listener: StreamListener, runtime: Runtime, body: Body) -> None:
    """Accept one stream and run its body."""
    stream = None
    while stream is None:
        stream = listener.accept()
    with closing(stream):
        body(End(stream, runtime))


class Real:
    def __init__(self) -> None:
        self._failed: list[BaseException] = []
        self._runtime = ThreadedRuntime(lambda task, error: self._failed.append(error))
        self._network = TcpStreams(self._runtime)

    def play(self, near: Body, far: Body) -> None:
        with closing(self._network.listen(("127.0.0.1", 0))) as listener:
            address = ("127.0.0.1", listener.port)
            other = self._runtime.spawn("far", lambda: answer(listener, self._runtime, far))
            with closing(self._network.connect(address, WAIT_S)) as stream:
                near(End(stream, self._runtime))
            assert other.join(2 * WAIT_S), "the other end does not come to its end"
        for error in self._failed:
            raise error

    def dial_nobody(self) -> GfsError:
        with closing(self._network.listen(("127.0.0.1", 0))) as gone:
            port = gone.port
        return refusal(self._network, ("127.0.0.1", port))

    def close(self) -> None:
        pass


class Simulated:
    def __init__(self) -> None:
        self._failed: list[BaseException] = []
        self._scheduler = TaskScheduler()
        self._network = Network(self._scheduler, random.Random(7))
        self._kernels: dict[str, Kernel] = {}
        self._near, self._far = (self._machine(name) for name in ("near", "far"))

    def _machine(self, name: str) -> tuple[SimStreams, BusyRuntime]:
        crash = lambda task, error: self._failed.append(error)  # noqa: E731
        process = Process(name, name, self._scheduler, crash)
        runtime = BusyRuntime(self._scheduler, process, random.Random(3), 1.0)
        return SimStreams(Kernel(name, self._network, self._kernels), runtime), runtime

    def _run(self, *tasks: Task) -> None:
        self._scheduler.run_until(self._scheduler.now_s + 4 * WAIT_S)
        for error in self._failed:
            raise error
        assert not any(task.running() for task in tasks), "it hangs"

    def play(self, near: Body, far: Body) -> None:
        (dialling, near_runtime), (listening, far_runtime) = self._near, self._far
        listener = listening.listen(("far", 5))

        def dial() -> None:
            with closing(dialling.connect(("far", 5), WAIT_S)) as stream:
                near(End(stream, near_runtime))

        other = far_runtime.spawn("far", lambda: answer(listener, far_runtime, far))
        self._run(other, near_runtime.spawn("near", dial))

    def dial_nobody(self) -> GfsError:
        network, runtime = self._near
        said: list[GfsError] = []
        self._run(runtime.spawn("dial", lambda: said.append(refusal(network, ("far", 6)))))
        return said[0]

    def close(self) -> None:
        self._scheduler.close()


def refusal(network: StreamNetwork, address: Address) -> GfsError:
    try:
        network.connect(address, 5.0)
    except Unreachable as error:
        return error
    raise AssertionError("somebody answered")


@pytest.fixture(params=["tcp", "simulated"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: World = Real() if request.param == "tcp" else Simulated()
    with closing(made):
        yield made


def test_parts_come_as_one_run_of_bytes_in_order_both_ways(world: World) -> None:
    big = random.Random(1).randbytes(3 * MIB)

    def near(end: End) -> None:
        end.send(b"ab", b"", b"cde")
        end.send(big)
        assert end.receive(4) == b"done"

    def far(end: End) -> None:
        assert end.receive(3) == b"abc"
        assert end.receive(2) == b"de"
        assert end.receive(len(big)) == big
        end.send(b"do", b"ne")

    world.play(near, far)


def test_what_is_there_is_taken_without_waiting(world: World) -> None:
    def near(end: End) -> None:
        assert end.stream.receive_now(memoryview(bytearray(10))) == 0
        assert end.stream.idle()
        end.send(b"go")
        end.until_there()
        assert not end.stream.idle(), "it has something to say"
        into = memoryview(bytearray(10))
        assert end.stream.receive_now(into) == 3 and bytes(into[:3]) == b"yes"
        assert end.stream.idle()
        assert not end.stream.wait(0.05)
        end.send(b"ok")

    def far(end: End) -> None:
        assert end.receive(2) == b"go"
        assert end.stream.send_now(b"yes")
        assert end.receive(2) == b"ok"

    world.play(near, far)


def test_a_receive_asks_its_caller_each_slice_in_which_nothing_comes(world: World) -> None:
    def near(end: End) -> None:
        asked: list[float] = []

        def stall(idle_s: float) -> None:
            asked.append(idle_s)
            if idle_s > 5 * STALL_SLICE_S and len(asked) >= 3:
                raise DeadlineExceeded("enough")

        into = memoryview(bytearray(10))
        began_s = end.runtime.monotonic_s()
        with pytest.raises(DeadlineExceeded):
            end.stream.receive(into, stall)
        assert end.runtime.monotonic_s() - began_s > 4 * STALL_SLICE_S
        assert len(asked) >= 3 and asked == sorted(asked)
        end.send(b"x")

    world.play(near, lambda end: assert_equal(end.receive(1), b"x"))


def assert_equal(one: bytes, other: bytes) -> None:
    assert one == other


def test_who_sends_more_than_is_taken_waits_and_asks_his_caller(world: World) -> None:
    """Backpressure: what is not taken is not swallowed, and all of it comes once it is."""
    data = bytes(MORE_THAN_FITS)
    progress = {"taken": False, "stalled": False}

    def near(end: End) -> None:
        def stall(idle_s: float) -> None:
            progress["stalled"] = True
            patient(idle_s)

        end.stream.send([data], stall)
        assert progress["taken"], "all was swallowed before anybody took it"
        assert end.receive(2) == b"ok"

    def far(end: End) -> None:
        ends_s = end.runtime.monotonic_s() + WAIT_S
        while not progress["stalled"] and end.runtime.monotonic_s() < ends_s:
            end.runtime.sleep(0.02)
        progress["taken"] = True
        assert end.receive(len(data)) == data
        end.send(b"ok")

    world.play(near, far)


def test_a_send_that_nobody_takes_ends_as_its_caller_says(world: World) -> None:
    given_up: list[bool] = []

    def near(end: End) -> None:
        def stall(idle_s: float) -> None:
            if idle_s > 2 * STALL_SLICE_S:
                raise DeadlineExceeded("enough")

        with pytest.raises(DeadlineExceeded):
            end.stream.send([bytes(MORE_THAN_FITS)], stall)
        assert not end.stream.send_now(bytes(64 * KIB)), "there is no room"
        end.stream.abort()
        given_up.append(True)

    def far(end: End) -> None:
        ends_s = end.runtime.monotonic_s() + WAIT_S
        while not given_up and end.runtime.monotonic_s() < ends_s:
            end.runtime.sleep(0.02)
        end.fails(lambda: end.receive(MIB))

    world.play(near, far)


def test_who_closes_is_heard_behind_all_that_he_sent(world: World) -> None:
    def near(end: End) -> None:
        end.send(bytes(50_000))

    def far(end: End) -> None:
        assert end.receive(50_000) == bytes(50_000)
        assert end.stream.wait(WAIT_S), "an end is something to be heard"
        with pytest.raises(Unreachable) as told:
            end.receive(1)
        assert told.value.details == {"hung_up": 1}
        with pytest.raises(Unreachable):
            end.stream.receive_now(memoryview(bytearray(1)))
        assert not end.stream.idle()

    world.play(near, far)


def test_half_of_what_is_waited_for_and_then_the_end_is_the_end(world: World) -> None:
    def far(end: End) -> None:
        with pytest.raises(Unreachable):
            end.receive(10)

    world.play(lambda end: end.send(b"half"), far)


def test_what_was_said_last_is_read_although_not_all_was_taken(world: World) -> None:
    """To hang up is not to close: else the bytes that nobody took would reset the connection."""

    def near(end: End) -> None:
        end.send(bytes(100_000))
        assert end.receive(10) == b"no, thanks"
        with pytest.raises(Unreachable):
            end.receive(1)

    def far(end: End) -> None:
        end.until_there()
        end.send(b"no, thanks")
        end.stream.hang_up(1.0)
        with pytest.raises(Unreachable):
            end.send(b"and more")

    world.play(near, far)


def test_who_closes_with_bytes_unread_is_gone_for_who_goes_on_sending(world: World) -> None:
    def near(end: End) -> None:
        end.send(bytes(100_000))
        end.fails(lambda: end.send(bytes(1000)))
        end.fails(lambda: end.receive(1))
        assert not end.stream.send_now(b"x")
        assert not end.stream.idle()

    world.play(near, End.until_there)


def test_an_abort_ends_whoever_waits_on_the_stream(world: World) -> None:
    def near(end: End) -> None:
        def cut() -> None:
            end.runtime.sleep(0.3)
            end.stream.abort()
            end.stream.abort()

        task = end.runtime.spawn("cut", cut)
        with pytest.raises(Unreachable):
            end.receive(1)
        assert task.join(WAIT_S)
        with pytest.raises(Unreachable):
            end.send(b"more")
        assert not end.stream.send_now(b"more") and not end.stream.idle()

    def far(end: End) -> None:
        with pytest.raises(Unreachable):
            end.receive(1)

    world.play(near, far)


def test_a_stream_that_is_closed_here_is_of_no_use_here(world: World) -> None:
    def near(end: End) -> None:
        end.send(b"x")
        end.stream.close()
        for act in (lambda: end.send(b"y"), lambda: end.receive(1)):
            with pytest.raises(Unreachable):
                act()
        assert not end.stream.send_now(b"y")
        end.stream.abort()
        end.stream.close()

    def far(end: End) -> None:
        assert end.receive(1) == b"x"
        with suppress(Unreachable):
            end.receive(1)

    world.play(near, far)


def test_where_nobody_listens_is_said_at_once_and_that_nothing_was_sent(world: World) -> None:
    error = world.dial_nobody()
    assert error.details.get("sent") == 0
