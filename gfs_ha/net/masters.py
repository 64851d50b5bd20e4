"""The connections to the masters, one each, and one call over one of them in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from gfs_ha.config import MasterAddress
from gfs_ha.errors import DeadlineExceeded, GfsError, ProtocolError, Unreachable
from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.limits import CONNECT_TIMEOUT_S
from gfs_ha.logs.trace import new_trace
from gfs_ha.net.network import Caller, Network
from gfs_ha.net.network import Hello as NetworkHello
from gfs_ha.protocol.calls import (
    SERVE_METHOD,
    Asked,
    AsOf,
    CallContext,
    CallReply,
    DatedReply,
    ReadTerms,
    Reply,
    Request,
)
from gfs_ha.protocol.codec import Failure, Hello, HelloReply, decode, encode
from gfs_ha.protocol.reports import GetMasterFacts, MasterFacts
from gfs_ha.runtime import Runtime

PROBE_TIMEOUT_S = 1.0
_KNOWN_MAX = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """The replies to one call, in order, and which moment they show if that was asked for."""

    replies: CallReply
    as_of: AsOf | None = None


class MasterConnections:
    """Open connections by the master's name, dialled when they are needed. Thread-safe."""

    def __init__(
        self,
        masters: Sequence[MasterAddress],
        network: Network,
        hello: Hello,
        runtime: Runtime,
        trace_id: TraceId = NO_TRACE,
    ) -> None:
        """Args: `trace_id` goes with every call; without one each call has an id of its own."""
        self.trace_id = trace_id
        self._masters = {master.name: master for master in masters}
        self._network = network
        self._plain_hello = hello
        self._hello = encode(hello)
        self._incarnation = 0  # The newest that any master told.
        self._incarnations: dict[str, int] = {}  # What each of the open connections was told.
        self._runtime = runtime
        self._lock = runtime.lock()
        self._callers: dict[str, Caller] = {}
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._masters)

    def learn(self, name: str, host: str, port: int) -> bool:
        """Hear where a master is that the configuration does not name; return whether it is new.

        The masters may have been changed since the configuration was written.
        """
        with self._lock:
            if not name or not host or not 0 < port < 1 << 16 or name in self._masters:
                return False
            if len(self._masters) >= _KNOWN_MAX:
                return False
            # Readers iterate over the old one.
            self._masters = {**self._masters, name: MasterAddress(name, host, port, 0)}
            return True

    def apart(self, master: MasterAddress) -> MasterConnections:
        """Return connections, in the same name, to one master that these do not know."""
        return MasterConnections(
            (master,), self._network, self._plain_hello, self._runtime, self.trace_id
        )

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        """Raises: Unreachable after `close`."""
        if self._closed:
            raise Unreachable("the link to the masters is closed", sent=0)

    def caller(self, name: str) -> Caller:
        """Return the open connection to a master; dial if there is none.

        Raises: Unreachable, WrongCluster… with `sent` = 0.
        """
        with self._lock:
            self.check_open()
            caller = self._callers.get(name)
            outdated = 0 < self._incarnations.get(name, 0) < self._incarnation
        if caller is not None and not caller.closed and not outdated:
            return caller
        if outdated:
            self.drop(name)
        master = self._masters[name]
        try:
            address = (master.host, master.port)
            hello = NetworkHello(self._hello, partial(self._accept, name))
            fresh = self._network.dial(address, hello, CONNECT_TIMEOUT_S)
        except Unreachable as error:
            raise Unreachable(f"master {name}: {error.message}", sent=0) from error
        except GfsError as error:
            error.details["sent"] = 0
            raise
        with self._lock:
            other = self._callers.get(name)
            if self._closed or (other is not None and not other.closed):
                spare, keep = fresh, other
            else:
                self._callers[name] = fresh
                spare, keep = None, fresh
        if spare is not None:
            spare.close()
        if keep is None:
            raise Unreachable("the link to the masters is closed", sent=0)
        return keep

    def _accept(self, name: str, answer: bytes) -> None:
        """Read a master's answer to our hello. Raises: what it refuses us with, ProtocolError;
        Unreachable for one of an older incarnation: what it says does not count any more.
        """
        told = _read_hello(answer).incarnation
        with self._lock:
            newest = self._incarnation
            if told >= newest or told == 0:
                self._incarnation = max(newest, told)
                self._incarnations[name] = told
                return
        raise Unreachable(f"it is of incarnation {told}, the cluster of {newest}")

    def drop(self, name: str) -> None:
        """Hang up on a master; the next call dials again."""
        with self._lock:
            caller = self._callers.pop(name, None)
            self._incarnations.pop(name, None)
        if caller is not None:
            caller.close()

    def close(self) -> None:
        """Hang up on all; calls in flight fail. Never blocks."""
        with self._lock:
            self._closed = True
            callers = list(self._callers.values())
            self._callers.clear()
        for caller in callers:
            caller.close()


def call_context(
    runtime: Runtime,
    deadline_s: float,
    terms: ReadTerms | None = None,
    trace_id: TraceId = NO_TRACE,
) -> bytes:
    """Return the context of a call that ends at `deadline_s`. Raises: DeadlineExceeded.

    A call that belongs to no command has a trace id of its own.
    """
    left_s = deadline_s - runtime.monotonic_s()
    if left_s <= 0:
        raise DeadlineExceeded("the deadline passed before the request was sent", sent=0)
    return encode(CallContext(max(1, int(left_s * 1000)), trace_id or new_trace(runtime), terms))


def read_answer(answer: bytes, count: int, dated: bool = False) -> Answer:
    """Return what a master said to so many requests; `dated` if terms were given with them.

    Raises: the failure of the call as a whole, ProtocolError.
    """
    refusal = _read_failure(answer)
    if refusal is not None:
        raise refusal.raised()
    as_of: AsOf | None = None
    if dated:
        words = decode(DatedReply, answer)
        last = words[-1] if words else None
        if isinstance(last, AsOf):  # An older release says nothing of it.
            words, as_of = words[:-1], last
        if any(isinstance(word, AsOf) for word in words):
            raise ProtocolError("the master told the moment of its answer where a reply belongs")
        replies = cast(CallReply, words)
    else:
        replies = decode(CallReply, answer)
    if len(replies) != count:
        raise ProtocolError(f"{len(replies)} replies to {count} requests")
    return Answer(replies, as_of)


def ask_facts(connections: MasterConnections, name: str) -> MasterFacts:
    """Return what one master says of itself. Raises: Unreachable, DeadlineExceeded, Denied…"""
    reply = ask_master(connections, name, GetMasterFacts(), PROBE_TIMEOUT_S)
    if not isinstance(reply, MasterFacts):
        raise ProtocolError(f"master {name} answered {type(reply).__name__} instead of facts")
    return reply


def ask_master(
    connections: MasterConnections, name: str, request: Request, timeout_s: float
) -> Reply:
    """Return what one master answers, whether it leads or not.

    Raises: Unreachable, DeadlineExceeded, Denied…, what it refuses.
    """
    context = encode(CallContext(int(timeout_s * 1000), connections.trace_id))
    body = encode((Asked(request),))
    caller = connections.caller(name)
    try:
        answer = caller.call(SERVE_METHOD, context, body, timeout_s)
        reply = read_answer(answer, 1).replies[0]
    except (Unreachable, ProtocolError):
        connections.drop(name)
        raise
    if isinstance(reply, Failure):
        raise reply.raised()
    return reply


def _read_hello(answer: bytes) -> HelloReply:
    """Read a master's answer to our hello. Raises: what it refuses us with, ProtocolError."""
    refusal = _read_failure(answer)
    if refusal is not None:
        raise refusal.raised()
    return decode(HelloReply, answer)


def _read_failure(answer: bytes) -> Failure | None:
    """Return the failure of the call as a whole, if that is what the answer says."""
    if not answer[1:9].endswith(b"failure"):
        return None
    try:
        return decode(Failure, answer)
    except ProtocolError:
        return None
