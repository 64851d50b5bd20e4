"""The twin of a client's network: connections to doors and calls, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from gfs_ha.errors import DeadlineExceeded, GfsError, PortTaken, Unreachable
from gfs_ha.limits import SILENCE_S
from gfs_ha.net.network import Address, Handler, Hello, HelloCheck, Server
from gfs_ha.net.rpc import Request
from gfs_ha.runtime import Future
from gfs_ha.sim.masters.door import SimDoor, Visitor
from gfs_ha.sim.masters.network import Way
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.runtime import ProcessRuntime
from gfs_ha.sim.network import Network

_HELLO = 0


class Host(Protocol):
    """A machine with a door, as others on the network find it."""

    @property
    def powered(self) -> bool:
        """Return whether its kernel answers; without a process, that nobody listens."""
        ...

    @property
    def door(self) -> SimDoor | None: ...

    @property
    def process(self) -> Process | None: ...

    def note_leading(self) -> None:
        """Have the timeline know if a master there leads now."""
        ...


class _Flight:
    __slots__ = ("future", "sent_s")

    def __init__(self, future: Future[bytes], sent_s: float) -> None:
        self.future = future
        self.sent_s = sent_s


class SimCaller:
    """One connection of a client to a door."""

    def __init__(self, runtime: ProcessRuntime, network: Network, host: Host, name: str) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._host = host
        self._name = name
        self._out = Way(network, self._process.host, name)
        self._back = Way(network, name, self._process.host)
        self._dead: GfsError | None = None
        self._flights: dict[int, _Flight] = {}
        self._next_sequence = 1
        self._heard_s = runtime.monotonic_s()
        self._serving: Process | None = None  # Who took the connection.
        self._door: SimDoor | None = None
        self._visitor: Visitor | None = None

    @property
    def closed(self) -> bool:
        return self._dead is not None

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    def connect(self, hello: Hello, timeout_s: float) -> None:
        """Say hello and wait for the answer. Raises: Unreachable, what `hello.accept` raises."""
        flight = self._fly(_HELLO)
        self._send(lambda: self._arrive(hello.body))
        try:
            answer = flight.future.result(timeout_s)
        except DeadlineExceeded:
            error = Unreachable(f"{self._name} does not answer the hello", sent=0)
            self._drop(error)
            raise error from None
        try:
            hello.accept(answer)
        except BaseException:
            self.close()
            raise

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        return self.call_async(method, context, body, timeout_s).result(timeout_s + 2 * SILENCE_S)

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        sequence = self._next_sequence
        self._next_sequence += 1
        if self._dead is not None:
            future: Future[bytes] = self._runtime.future()
            future.fail(Unreachable(self._dead.message, sent=0))
            return future
        flight = self._fly(sequence)
        request = Request(sequence, method, context, body)
        self._send(lambda: self._deliver(request))
        due_s = self._process.local_now_s() + self._runtime.global_s(timeout_s)
        self._process.at(due_s, partial(self._expire, sequence, timeout_s))
        return flight.future

    def close(self) -> None:
        self._drop(Unreachable(f"the connection to {self._name} was closed"))

    # In the client's process.

    def _fly(self, sequence: int) -> _Flight:
        flight = _Flight(self._runtime.future(), self._runtime.monotonic_s())
        self._flights[sequence] = flight
        return flight

    def _send(self, arrival: Callable[[], None]) -> None:
        self._out.carry(self._process.local_now_s(), arrival)

    def _hear(self, sequence: int, answer: bytes) -> None:
        self._heard_s = self._runtime.monotonic_s()
        flight = self._flights.pop(sequence, None)
        if flight is not None:
            flight.future.set(answer)

    def _expire(self, sequence: int, waited_s: float) -> None:
        flight = self._flights.pop(sequence, None)
        if flight is None:
            return
        now_s = self._runtime.monotonic_s()
        quiet = self._heard_s <= flight.sent_s and now_s - flight.sent_s >= SILENCE_S
        error = DeadlineExceeded(f"{self._name} gave no answer within {waited_s:.1f} s", sent=1)
        flight.future.fail(error)
        if quiet:
            self._drop(Unreachable(f"{self._name} does not answer"))

    def _drop(self, reason: GfsError) -> None:
        """End the connection at this end, and tell the other one."""
        if self._dead is not None:
            return
        self._dead = reason
        self._send(self._gone)
        flights, self._flights = self._flights, {}
        for sequence, flight in flights.items():
            flight.future.fail(Unreachable(reason.message, sent=int(sequence != _HELLO)))

    # At the server's machine.

    def _arrive(self, body: bytes) -> None:
        process, door = self._host.process, self._host.door
        if process is None or door is None or not process.alive:
            self._refuse()
            return
        self._serving, self._door = process, door
        visitor = Visitor(self._process.name, self._answer, self._refuse)
        self._visitor = visitor
        process.at(process.local_now_s(), lambda: door.greet(visitor, _HELLO, body))

    def _deliver(self, request: Request) -> None:
        process, door, visitor = self._serving, self._door, self._visitor
        if process is None or door is None or visitor is None or not process.alive:
            self._refuse()
            return
        process.at(process.local_now_s(), lambda: door.call(visitor, request))

    def _gone(self) -> None:
        process, door, visitor = self._serving, self._door, self._visitor
        if process is not None and door is not None and visitor is not None:
            process.at(process.local_now_s(), lambda: door.leave(visitor))

    def _answer(self, sequence: int, answer: bytes) -> None:
        assert self._serving is not None
        self._back.carry(
            self._serving.local_now_s(),
            lambda: self._process.at(
                self._process.local_now_s(), lambda: self._hear(sequence, answer)
            ),
        )

    def _refuse(self) -> None:
        """Reset the connection, if the machine's kernel runs."""
        if self._host.powered:
            now_s = self._process.scheduler.now_s
            reset = partial(self._drop, Unreachable(f"{self._name} reset the connection"))
            self._back.carry(now_s, lambda: self._process.at(self._process.local_now_s(), reset))


class CallNetwork:
    """The Network of one client: dials hosts by name."""

    def __init__(self, runtime: ProcessRuntime, network: Network, hosts: dict[str, Host]) -> None:
        self._runtime = runtime
        self._network = network
        self._hosts = hosts
        self._callers: dict[SimCaller, None] = {}

    def hang_up(self) -> None:
        """Close all connections, as the kernel does for a process that is gone."""
        for caller in list(self._callers):
            caller.close()

    def listen(self, address: Address, hello: HelloCheck, handler: Handler) -> Server:
        raise PortTaken("a simulated client listens nowhere")

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> SimCaller:
        """Connect and say hello. Raises: Unreachable (sent=0), what `hello.accept` raises."""
        name = address[0]
        caller = SimCaller(self._runtime, self._network, self._hosts[name], name)
        self._callers = {one: None for one in self._callers if not one.closed} | {caller: None}
        caller.connect(hello, timeout_s)
        return caller
