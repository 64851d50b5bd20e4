"""The twin of the links between members: FIFO links with delay, cuts in one direction, resets.

A cut direction holds what was sent into it, as TCP's retransmission does: it arrives after the cut
is healed, if the link still stands then. A closed link loses what was on its way.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from gfs_ha.errors import ProtocolError
from gfs_ha.limits import RAFT_LINK_QUEUE_BYTES
from gfs_ha.net.links import Address, Link, LinkOwner, leads_to_itself
from gfs_ha.pki.names import PeerName
from gfs_ha.sim.scheduler import Scheduler


class Network:
    """Every machine, every link, every cut. Machines are known by the host of their address."""

    def __init__(self, scheduler: Scheduler, chance: random.Random) -> None:
        self.scheduler = scheduler
        self.hosts: dict[str, SimLinks] = {}
        self._chance = chance
        self._cuts: set[tuple[str, str]] = set()
        self._held: dict[tuple[str, str], list[Callable[[], None]]] = {}

    def cut(self, source: str, target: str) -> None:
        """Let nothing from `source` reach `target` until it is healed."""
        self._cuts.add((source, target))

    def heal(self, source: str, target: str) -> None:
        self._cuts.discard((source, target))
        for arrival in self._held.pop((source, target), []):
            self.scheduler.after(0.0, arrival)  # In order, and before what is sent from now on.

    def heal_all(self) -> None:
        for source, target in sorted(self._cuts):
            self.heal(source, target)

    def reset(self, first: str, second: str) -> None:
        """Break the links between two machines; both ends see it."""
        for host in (first, second):
            links = self.hosts.get(host)
            if links is not None:
                links.reset({first, second} - {host})

    def delay_s(self) -> float:
        if self._chance.random() < 0.02:
            return self._chance.uniform(0.001, 0.05)
        return self._chance.uniform(0.0001, 0.002)

    def carry(self, source: str, target: str, when_s: float, arrival: Callable[[], None]) -> None:
        """Run `arrival` at the target at a time, or once the way is open again."""

        def arrive() -> None:
            if (source, target) in self._cuts:
                self._held.setdefault((source, target), []).append(arrive)
            elif self._held.get((source, target)):
                self._held[source, target].append(arrive)
            else:
                arrival()

        self.scheduler.at(when_s, arrive)


class SimLink:
    """One end of a link."""

    def __init__(self, links: SimLinks, remote: str) -> None:
        self.remote = remote
        self.certificate: PeerName | None = None  # There is no TLS in virtual time.
        self.owner: LinkOwner | None = None
        self.other: SimLink | None = None
        self.open = False
        self.pending_bytes = 0
        self.links = links
        self._frame_bytes_max = 1 << 30
        self._last_arrival_s = 0.0
        self._queued: list[bytes] = []

    def send(self, frame: bytes) -> None:
        if self.open:
            self._queued.append(frame)
            self.pending_bytes += len(frame)
            self.links.dirty[self] = None
            if self.pending_bytes > self.links.queue_bytes_max:
                self.close(f"the peer is {self.pending_bytes} bytes behind")

    def limit_frames(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max

    def close(self, reason: str) -> None:
        owner, self.owner = self.owner, None
        self.links.forget(self)
        self.pending_bytes = 0
        if self.open:
            self.open = False
            other = self.other
            if other is not None:
                self._carry(lambda: other.links.deliver(other, None))
        if owner is not None:
            owner.closed(self, reason)

    def flush(self) -> None:
        queued, self._queued = self._queued, []
        other = self.other
        if not self.open or other is None:
            return
        for frame in queued:
            self._carry(self._arrival(other, frame))

    def _arrival(self, other: SimLink, frame: bytes) -> Callable[[], None]:
        def arrive() -> None:
            if self.open:
                self.pending_bytes -= len(frame)
            other.links.deliver(other, frame)

        return arrive

    def _carry(self, arrival: Callable[[], None]) -> None:
        network = self.links.network
        when_s = max(self.links.local_now_s() + network.delay_s(), self._last_arrival_s)
        self._last_arrival_s = when_s
        network.carry(self.links.host, self.remote, when_s, arrival)

    def receive(self, frame: bytes | None) -> None:
        """Hand a frame, or the end, to the owner. Called in the poll of the machine."""
        if frame is None:
            self.open = False
            self.close("the peer closed the connection")
        elif self.owner is not None and self.open:
            try:
                if len(frame) > self._frame_bytes_max:
                    raise ProtocolError("a frame is too long")
                self.owner.received(self, frame)
            except ProtocolError as error:
                self.close(error.message)


class SimLinks:
    """The Links of one run of one machine. `wake_up` has the machine step soon."""

    def __init__(
        self,
        network: Network,
        host: str,
        now_s: Callable[[], float],
        wake_up: Callable[[], None],
        queue_bytes_max: int = RAFT_LINK_QUEUE_BYTES,
    ) -> None:
        self.network = network
        self.queue_bytes_max = queue_bytes_max
        self.host = host
        self.local_now_s = now_s  # In the time of the scheduler, within a step ahead of it.
        self.dirty: dict[SimLink, None] = {}
        self.alive = True
        self._wake_up = wake_up
        self._accept: Callable[[Link], LinkOwner] | None = None
        self._ends: dict[SimLink, None] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        network.hosts[host] = self

    @property
    def waiting(self) -> bool:
        return bool(self._inbox)

    def listen(self, accept: Callable[[Link], LinkOwner]) -> None:
        self._accept = accept

    def dial(self, address: Address, owner: LinkOwner) -> Link:
        network, target = self.network, address[0]
        end = SimLink(self, target)
        end.owner = owner
        self._ends[end] = None
        if target == self.host:
            self._enqueue(lambda: _refuse_itself(end))
            return end

        def answered(other: SimLink) -> None:
            def connected() -> None:
                if end.owner is None:
                    other.links.deliver(other, None)
                    return
                end.other, end.open = other, True
                end.owner.opened(end)

            self._enqueue(connected)

        def arrived() -> None:
            links = network.hosts.get(target)
            if links is not None and links.alive:
                links._accepted(self.host, end, answered)

        when_s = self.local_now_s() + network.delay_s()
        network.carry(self.host, target, when_s, arrived)
        return end

    def _accepted(self, host: str, dialler: SimLink, answered: Callable[[SimLink], None]) -> None:
        end = SimLink(self, host)
        end.other, end.open = dialler, True
        self._ends[end] = None

        def accept() -> None:
            assert self._accept is not None
            end.owner = self._accept(end)
            end.owner.opened(end)

        self._enqueue(accept)
        when_s = self.network.scheduler.now_s + self.network.delay_s()
        self.network.carry(self.host, host, when_s, lambda: answered(end))

    def deliver(self, end: SimLink, frame: bytes | None) -> None:
        if self.alive:
            self._enqueue(lambda: end.receive(frame))

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def flush(self) -> None:
        while self.dirty:
            end = next(iter(self.dirty))
            del self.dirty[end]
            end.flush()

    def wake(self) -> None:
        self._wake_up()

    def close(self) -> None:
        for end in list(self._ends):
            end.close("shutting down")
        self.alive = False

    def power_off(self) -> None:
        """Vanish: nothing here hears of anything again, the other ends see a reset."""
        self.alive = False
        self._inbox.clear()
        for end in list(self._ends):
            end.owner = None
            end.close("power cut")

    def reset(self, remotes: set[str]) -> None:
        for end in list(self._ends):
            if end.remote in remotes and end.open:
                self._enqueue(lambda end=end: end.receive(None))  # type: ignore[misc]

    def forget(self, end: SimLink) -> None:
        self._ends.pop(end, None)
        self.dirty.pop(end, None)

    def _enqueue(self, event: Callable[[], None]) -> None:
        if self.alive:
            self._inbox.append(event)
            self._wake_up()


def _refuse_itself(end: SimLink) -> None:
    error = leads_to_itself(end.remote)
    if end.owner is not None:
        end.owner.refused(end, error)
    end.close(error.message)
