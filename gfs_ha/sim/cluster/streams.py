"""The twin of TCP under the data plane: streams between machines, in order, with a window.

What was sent into a cut arrives when it heals. A process that is killed resets its streams; a
machine without power says nothing, and after its return resets what it does not know any more. A
process that is stopped keeps its streams: its kernel takes connections and bytes, up to the window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from gfs_ha.errors import PortTaken, Unreachable
from gfs_ha.net.network import Address
from gfs_ha.net.streams import STALL_SLICE_S, Bytes, Stall
from gfs_ha.sim.cluster.runtime import BusyRuntime, Waiter
from gfs_ha.sim.masters.network import Way
from gfs_ha.sim.masters.process import Process, SimTask
from gfs_ha.sim.masters.tasks import Killed
from gfs_ha.sim.network import Network

WINDOW_BYTES = 256 * 1024
_BYTES_PER_S = 200e6
_BACKLOG = 128
_ACCEPT_S = 0.5


class Kernel:
    """The sockets of one machine; they outlive the will of its processes."""

    def __init__(self, name: str, network: Network, kernels: dict[str, Kernel]) -> None:
        self.name = name
        self.network = network
        self.kernels = kernels
        self.powered = True
        self.listeners: dict[int, SimListener] = {}
        self.streams: dict[SimStream, None] = {}
        kernels[name] = self

    def process_ends(self) -> None:
        """Close what the process of this machine had open; without power nobody hears of it."""
        self.listeners.clear()
        for stream in list(self.streams):
            stream.vanish()


class SimStream:
    """One end of a stream; a Stream for the tasks of one process."""

    def __init__(self, kernel: Kernel, runtime: BusyRuntime, remote: str) -> None:
        self.peer = remote
        self.other: SimStream | None = None
        self._kernel = kernel
        self._runtime = runtime
        self._way = Way(kernel.network, kernel.name, remote)
        self._line_free_s = 0.0
        self._inbox: deque[bytes] = deque()
        self._head_at = 0  # How much of the first of them is taken.
        self._sent = 0
        self.taken = 0  # By the reader of this end.
        self._ended = False  # The other end sends nothing more.
        self._reset = ""
        self._shut = False  # This end sends nothing more.
        self._gone = False
        self._waiters: list[Waiter] = []
        kernel.streams[self] = None

    # For tasks.

    def send(self, parts: Sequence[Bytes], stall: Stall) -> None:
        data = memoryview(b"".join(parts))
        idle_s = 0.0
        while data:
            self._check_sending()
            room = self._room()
            if room > 0:
                self._transmit_data(bytes(data[:room]))
                data = data[room:]
                idle_s = 0.0
            elif self._wait_slice(lambda: bool(self._room() > 0 or self._broken)):
                idle_s = 0.0
            else:
                idle_s += STALL_SLICE_S
                stall(idle_s)

    def send_file(self, file_number: int, offset: int, length: int, stall: Stall) -> None:
        raise Unreachable("a simulated disk has no descriptors")

    def send_now(self, data: bytes) -> bool:
        self._check_alive()
        if self._broken or self._shut or self._room() < len(data):
            return False
        self._transmit_data(data)
        return True

    def receive(self, into: memoryview, stall: Stall) -> None:
        filled = 0
        idle_s = 0.0
        while filled < len(into):
            count = self.receive_now(into[filled:])
            filled += count
            if filled == len(into):
                return
            if self._wait_slice(self._readable):
                idle_s = 0.0
            else:
                idle_s += STALL_SLICE_S
                stall(idle_s)

    def receive_now(self, into: memoryview) -> int:
        self._check_alive()
        if self._reset or self._gone:
            raise Unreachable(f"connection to {self.peer} lost: {self._reset or 'it is closed'}")
        count = self._take(into)
        if not count and self._ended and len(into):
            raise Unreachable(f"{self.peer} hung up", hung_up=1)
        return count

    def wait(self, timeout_s: float) -> bool:
        deadline_s = self._runtime.monotonic_s() + timeout_s
        while not self._readable():
            left_s = deadline_s - self._runtime.monotonic_s()
            if left_s <= 0:
                return False
            self._wait(left_s)
        return True

    def idle(self) -> bool:
        return not (self._inbox or self._ended or self._broken)

    def hang_up(self, timeout_s: float) -> None:
        self._check_alive()
        self._shut_down()
        deadline_s = self._runtime.monotonic_s() + timeout_s
        while not (self._ended or self._broken):
            self._drop_unread()
            left_s = deadline_s - self._runtime.monotonic_s()
            if left_s <= 0:
                return
            self._wait(left_s)

    def abort(self) -> None:
        if self._runtime.process.alive and not self._gone:
            self._shut_down()
            self._ended = True
            self._inbox.clear()
            self._wake()

    def close(self) -> None:
        if not self._runtime.process.alive or self._gone:
            return
        if self._inbox:
            self._tell(SimStream.hear_reset)
        else:
            self._shut_down()
        self._leave()

    # For kernels.

    def vanish(self) -> None:
        """Go with the process, or with the power of the machine."""
        if self._kernel.powered and not self._gone:
            self._tell(SimStream.hear_reset)
        self._leave()

    def hear_data(self, data: bytes) -> None:
        if self._gone:
            self._tell(SimStream.hear_reset)
            return
        self._inbox.append(data)
        self._wake()

    def hear_end(self) -> None:
        self._ended = True
        self._wake()

    def hear_reset(self) -> None:
        if not self._gone:
            self._reset = "reset by the other end"
            self._wake()

    def hear_connected(self) -> None:
        self._wake()

    def refuse(self) -> None:
        self._reset = "connection refused"
        self._wake()

    def wake_writer(self) -> None:
        self._wake()

    @property
    def connected(self) -> bool:
        return self.other is not None

    @property
    def broken(self) -> bool:
        return self._broken

    def wait_connected(self, timeout_s: float) -> None:
        deadline_s = self._runtime.monotonic_s() + timeout_s
        while not (self.connected or self._broken):
            left_s = deadline_s - self._runtime.monotonic_s()
            if left_s <= 0:
                return
            self._wait(left_s)

    def leave(self) -> None:
        self._leave()

    # Inside.

    @property
    def _broken(self) -> bool:
        return bool(self._reset) or self._gone

    def _check_alive(self) -> None:
        if not self._runtime.process.alive:
            raise Killed

    def _check_sending(self) -> None:
        self._check_alive()
        if self._broken or self._shut:
            raise Unreachable(f"connection to {self.peer} lost: {self._reset or 'it is closed'}")

    def _readable(self) -> bool:
        return bool(self._inbox) or self._ended or self._broken

    def _room(self) -> int:
        assert self.other is not None
        return WINDOW_BYTES - (self._sent - self.other.taken)

    def _take(self, into: memoryview) -> int:
        count = 0
        while self._inbox and count < len(into):
            piece = self._inbox[0]
            part = piece[self._head_at : self._head_at + len(into) - count]
            into[count : count + len(part)] = part
            count += len(part)
            self._head_at += len(part)
            if self._head_at == len(piece):
                self._inbox.popleft()
                self._head_at = 0
        self.taken += count
        if count and self.other is not None:
            self.other.wake_writer()
        return count

    def _drop_unread(self) -> None:
        unread = sum(len(piece) for piece in self._inbox) - self._head_at
        self._take(memoryview(bytearray(unread)))

    def _transmit_data(self, data: bytes) -> None:
        self._sent += len(data)
        now_s = self._runtime.process.local_now_s()
        self._line_free_s = max(now_s, self._line_free_s) + len(data) / _BYTES_PER_S
        self._carry(self._line_free_s, lambda other: other.hear_data(data))

    def _shut_down(self) -> None:
        if not self._shut:
            self._shut = True
            self._tell(SimStream.hear_end)

    def _tell(self, word: Callable[[SimStream], None]) -> None:
        now_s = self._runtime.process.local_now_s()
        self._carry(max(now_s, self._line_free_s), word)

    def _carry(self, from_s: float, word: Callable[[SimStream], None]) -> None:
        other = self.other
        if other is None:
            return

        def arrive() -> None:
            if other._kernel.powered:
                word(other)

        self._way.carry(from_s, arrive)

    def _leave(self) -> None:
        self._gone = True
        self._inbox.clear()
        self._kernel.streams.pop(self, None)
        self._wake()

    def _wait_slice(self, ready: Callable[[], bool]) -> bool:
        """Wait for at most a slice of time; return whether it is so now."""
        deadline_s = self._runtime.monotonic_s() + STALL_SLICE_S
        while not ready():
            left_s = deadline_s - self._runtime.monotonic_s()
            if left_s <= 1e-6:
                return False
            self._wait(left_s)
        return True

    def _wait(self, seconds: float) -> None:
        self._runtime.wait(seconds, self._line_up)

    def _line_up(self, task: SimTask, token: int) -> None:
        self._waiters.append((task, token))

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for task, token in waiters:
            self._runtime.resume(task, token)


class SimListener:
    """The accepting end of a simulated data port."""

    def __init__(self, kernel: Kernel, runtime: BusyRuntime, port: int) -> None:
        self.port = port
        self.runtime = runtime
        self._kernel = kernel
        self._backlog: deque[SimStream] = deque()
        self._waiters: list[Waiter] = []
        self._closed = False

    @property
    def full(self) -> bool:
        return len(self._backlog) >= _BACKLOG

    def put(self, stream: SimStream) -> None:
        self._backlog.append(stream)
        waiters, self._waiters = self._waiters, []
        for task, token in waiters:
            self.runtime.resume(task, token)

    def accept(self) -> SimStream | None:
        if not self.runtime.process.alive:
            raise Killed
        if not self._backlog and not self._closed:
            self.runtime.wait(_ACCEPT_S, lambda *waiter: self._waiters.append(waiter))
        if self._closed:
            raise Unreachable("the data port is closed")
        return self._backlog.popleft() if self._backlog else None

    def close(self) -> None:
        self._closed = True
        if self.runtime.process.alive and self._kernel.listeners.get(self.port) is self:
            del self._kernel.listeners[self.port]


class SimStreams:
    """The StreamNetwork of one process."""

    def __init__(self, kernel: Kernel, runtime: BusyRuntime) -> None:
        self._kernel = kernel
        self._runtime = runtime

    @property
    def _process(self) -> Process:
        return self._runtime.process

    def listen(self, address: Address) -> SimListener:
        port = address[1]
        if port in self._kernel.listeners:
            raise PortTaken(f"port {port} of {self._kernel.name} is taken")
        listener = SimListener(self._kernel, self._runtime, port)
        self._kernel.listeners[port] = listener
        return listener

    def connect(self, address: Address, timeout_s: float) -> SimStream:
        if not self._process.alive:
            raise Killed
        own, (host, port) = self._kernel, address
        end = SimStream(own, self._runtime, host)
        forth = Way(own.network, own.name, host)
        forth.carry(self._process.local_now_s(), lambda: self._knock(end, host, port))
        end.wait_connected(timeout_s)
        if not end.connected or end.broken:
            refused = end.broken
            end.leave()
            why = "connection refused" if refused else f"no answer in {timeout_s:g} s"
            raise Unreachable(f"{host}:{port}: {why}", sent=0)
        return end

    def _knock(self, end: SimStream, host: str, port: int) -> None:
        kernel = self._kernel.kernels.get(host)
        if kernel is None or not kernel.powered:
            return
        listener = kernel.listeners.get(port)
        if listener is not None and listener.full:
            return
        back = Way(kernel.network, host, self._kernel.name)
        now_s = kernel.network.scheduler.now_s
        if listener is None:
            back.carry(now_s, end.refuse)
            return
        other = SimStream(kernel, listener.runtime, self._kernel.name)

        def established() -> None:
            if end.broken or not self._process.alive:
                other.hear_reset()
                return
            end.other = other
            end.hear_connected()

        other.other = end
        back.carry(now_s, established)
        listener.put(other)
