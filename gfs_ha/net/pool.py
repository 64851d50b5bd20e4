"""Channels by address: dialled when first needed, shared by all callers, replaced when dead."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from gfs_ha.errors import DeadlineExceeded, GfsError, Overloaded, Unreachable
from gfs_ha.limits import CHANNEL_IDLE_S, CONNECT_TIMEOUT_S
from gfs_ha.net.channel import ChannelLimits
from gfs_ha.net.network import Address, Caller, Hello, Network
from gfs_ha.net.sockets import format_address
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.runtime import Future, Runtime


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many addresses a pool holds, and how it treats one that does not answer."""

    addresses_max: int = 256
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    # A failed dial keeps the next ones away: twice as long each time. The longest is short,
    # because a restarted master must be found again within a failover's second.
    backoff_first_s: float = 0.05
    backoff_longest_s: float = 0.4


class _Entry:
    """What the pool knows of one address."""

    __slots__ = ("again_s", "caller", "dialing", "failures", "used_s")

    def __init__(self) -> None:
        self.caller: Caller | None = None
        self.dialing: Future[Caller] | None = None
        self.failures = 0
        self.again_s = 0.0
        self.used_s = 0.0

    @property
    def live(self) -> bool:
        return self.caller is not None and not self.caller.closed

    @property
    def idle(self) -> bool:
        caller = self.caller
        return self.dialing is None and (caller is None or caller.closed or not caller.in_flight)


class Pool:
    """One channel per address, for one hello. Thread-safe.

    It never sends a call twice; it only replaces a channel that was dead before anything was sent.
    """

    def __init__(
        self,
        hello: Hello,
        runtime: Runtime,
        limits: PoolLimits | None = None,
        network: Network | None = None,
    ) -> None:
        self._hello = hello
        self._runtime = runtime
        self._limits = limits or PoolLimits()
        self._network: Network = network or TcpNetwork(
            runtime, channel_limits=ChannelLimits(idle_close_s=CHANNEL_IDLE_S)
        )
        self._lock = threading.Lock()
        self._entries: dict[Address, _Entry] = {}
        self._closed = False

    def call(
        self, address: Address, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> bytes:
        """Return the answer of one call to `address`.

        Raises: Unreachable, DeadlineExceeded, Overloaded, LimitExceeded, each with
        `details["sent"]` as in `Caller.call`; and what the hello's `accept` raises.
        """
        deadline_s = self._runtime.monotonic_s() + timeout_s
        caller, fresh = self._caller(address, deadline_s)
        left_s = deadline_s - self._runtime.monotonic_s()
        try:
            return caller.call(method, context, body, left_s)
        except Unreachable as error:
            if fresh or error.details.get("sent") != 0:
                raise
        # It had died of idleness or with its server since the last call; nothing was sent.
        caller, _ = self._caller(address, deadline_s)
        left_s = deadline_s - self._runtime.monotonic_s()
        return caller.call(method, context, body, left_s)

    def call_async(
        self, address: Address, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        """Send one call and return its answer to come; all errors come through it.

        Dials first where there is no live channel, which can take the whole `timeout_s`.
        """
        deadline_s = self._runtime.monotonic_s() + timeout_s
        try:
            caller, _ = self._caller(address, deadline_s)
        except GfsError as error:
            failed: Future[bytes] = self._runtime.future()
            failed.fail(error)
            return failed
        left_s = deadline_s - self._runtime.monotonic_s()
        return caller.call_async(method, context, body, left_s)

    def close(self) -> None:
        """Close every channel and refuse further calls. Never blocks."""
        with self._lock:
            self._closed = True
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            if entry.caller is not None:
                entry.caller.close()

    def _caller(self, address: Address, deadline_s: float) -> tuple[Caller, bool]:
        """Return a live channel and whether it was dialled just now."""
        with self._lock:
            entry = self._entry(address)
            now_s = self._runtime.monotonic_s()
            entry.used_s = now_s
            if entry.caller is not None and not entry.caller.closed:
                return entry.caller, False
            dialing = entry.dialing
            if dialing is None:
                if now_s < entry.again_s:
                    raise Unreachable(
                        f"{format_address(address)} did not answer a moment ago",
                        sent=0,
                        retry_ms=int((entry.again_s - now_s) * 1000) + 1,
                    )
                entry.dialing = self._runtime.future()
        left_s = deadline_s - self._runtime.monotonic_s()
        if dialing is None:
            return self._dial(address, entry, left_s), True
        try:
            return dialing.result(max(0.0, left_s)), True
        except DeadlineExceeded:
            raise Unreachable(f"{format_address(address)} is still being dialled", sent=0) from None

    def _entry(self, address: Address) -> _Entry:
        if self._closed:
            raise Unreachable("the pool of connections is closed", sent=0)
        entry = self._entries.get(address)
        if entry is not None:
            return entry
        if len(self._entries) >= self._limits.addresses_max:
            self._evict()
        entry = self._entries[address] = _Entry()
        return entry

    def _evict(self) -> None:
        idle = [(entry.used_s, address) for address, entry in self._entries.items() if entry.idle]
        if not idle:
            raise Overloaded(
                f"connections to {self._limits.addresses_max} addresses are busy", sent=0
            )
        _, oldest = min(idle)
        caller = self._entries.pop(oldest).caller
        if caller is not None:
            caller.close()

    def _dial(self, address: Address, entry: _Entry, left_s: float) -> Caller:
        dialing = entry.dialing
        assert dialing is not None
        timeout_s = min(left_s, self._limits.connect_timeout_s)
        try:
            caller = self._network.dial(address, self._hello, timeout_s)
        except BaseException as error:
            with self._lock:
                entry.dialing = None
                entry.again_s = self._runtime.monotonic_s() + self._backoff_s(entry)
                entry.failures += 1
            dialing.fail(error)
            raise
        with self._lock:
            entry.dialing = None
            entry.failures = 0
            entry.caller = caller
            closed = self._closed
        if closed:
            caller.close()
        dialing.set(caller)
        return caller

    def _backoff_s(self, entry: _Entry) -> float:
        limits = self._limits
        grown_s = limits.backoff_first_s * (1 << min(entry.failures, 16))
        return self._runtime.uniform(0.5, 1.0) * min(grown_s, limits.backoff_longest_s)
