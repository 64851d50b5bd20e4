"""The RPC server: one epoll thread, many peers, answers now or later, and a limit on everything.

No peer can hold a thread, because there is one; what a peer can hold is memory, descriptors and
time, and each has its limit here or in connection.py. A peer that breaks the protocol is dropped
without an answer. The door itself ends only by `stop`.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gfs_ha.errors import DeadlineExceeded, Denied, GfsError, ProtocolError
from gfs_ha.limits import TLS_HANDSHAKES_PER_TURN
from gfs_ha.net.connection import Call, DoorConnection, DoorLimits
from gfs_ha.net.deadlines import Deadlines
from gfs_ha.net.doorbook import DoorBook, DoorStats
from gfs_ha.net.guarded import GuardedHandler
from gfs_ha.net.listener import Listener, Starved
from gfs_ha.net.network import Address, Handler, HelloCheck
from gfs_ha.net.postbox import Postbox
from gfs_ha.net.rpc import HELLO_METHOD, Request
from gfs_ha.net.sockets import format_address
from gfs_ha.net.tls import Credentials
from gfs_ha.net.trust import TrustWatch
from gfs_ha.net.wakeup import Wakeup
from gfs_ha.pki.names import EVERYBODY
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_EVENTS_MAX = 256
_CALLS_PER_TURN = 64  # Of one peer, then the others have their turn.
_SWEEP_S = 0.25
_ACCEPT_PAUSE_S = 0.1
_READ = select.EPOLLIN | select.EPOLLRDHUP
_GONE = select.EPOLLHUP | select.EPOLLERR


class Door:
    """A server of calls on one port. `run` belongs to one thread; `stop` and `post` to all.

    Args: `listen` is (host, port), port 0 takes a free one; `hello` judges each peer's first call;
    `handler` answers the rest; with `credentials` peers come in by TLS, and with a certificate of
    the cluster. Raises: PortTaken, ConfigError.
    """

    def __init__(
        self,
        runtime: Runtime,
        listen: Address,
        hello: HelloCheck,
        handler: Handler,
        limits: DoorLimits | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._runtime = runtime
        self._trust = TrustWatch(credentials, runtime.monotonic_s())
        self._limits = limits or DoorLimits()
        self._handler = GuardedHandler(hello, handler, self._limits.frame_bytes_max)
        self._listener = Listener(listen)
        self._epoll = select.epoll()
        self._wakeup = Wakeup()
        self._connections: dict[int, DoorConnection] = {}
        self._strangers: dict[int, DoorConnection] = {}  # Have not said hello; oldest first.
        self._ready: dict[DoorConnection, None] = {}  # Have more whole frames than one turn took.
        self._posted = Postbox(self._wakeup, format_address(self._listener.address))
        self._answers: deque[tuple[Call, bytes]] = deque()
        self._deadlines: Deadlines[Call] = Deadlines()
        self._held_bytes = 0
        self._next_sweep_s = 0.0
        self.turned_s = runtime.monotonic_s()  # When it last began a turn.
        self._accept_again_s: float | None = None
        self._stop_at_s: float | None = None
        self._draining = False
        self._book = DoorBook()
        self._epoll.register(self._listener.descriptor, select.EPOLLIN)
        self._epoll.register(self._wakeup.descriptor, select.EPOLLIN)

    @property
    def port(self) -> int:
        return self._listener.port

    def stats(self) -> DoorStats:
        """Return the counters as of now. Thread-safe."""
        return replace(
            self._book.counts,
            connections=len(self._connections),
            calls_in_flight=sum(len(c.calls) for c in list(self._connections.values())),
            held_bytes=self._held_bytes,
        )

    def run(self) -> None:
        """Serve until `stop`, then close every connection and the port."""
        try:
            while not self._finished():
                self._turn()
        finally:
            self._shut()

    def stop(self, drain_s: float = 0.0) -> None:
        """End `run`: no new peers and calls; those in flight get up to `drain_s`. Thread-safe."""
        self._stop_at_s = self._runtime.monotonic_s() + drain_s
        self._wakeup.set()

    def post(self, action: Callable[[], None]) -> None:
        """Run `action` on the door's thread, soon. Thread-safe. Raises: Overloaded, NotReady."""
        self._posted.put(action)

    # The loop.

    def _turn(self) -> None:
        now_s = self.turned_s = self._runtime.monotonic_s()
        wait_s = 0.0 if self._ready else self._deadlines.wait_s(now_s, _SWEEP_S)
        events = self._epoll.poll(wait_s, _EVENTS_MAX)
        now_s = self._runtime.monotonic_s()
        ready, self._ready = self._ready, {}
        accept = False
        shakes = 0
        for descriptor, event in events:
            connection = self._connections.get(descriptor)
            if connection is not None:
                if connection.shaking:
                    shakes += 1
                    if shakes > TLS_HANDSHAKES_PER_TURN:
                        continue  # The next poll says so again.
                self._guard(connection, partial(self._on_socket, connection, event, now_s), now_s)
            elif descriptor == self._wakeup.descriptor:
                self._wakeup.clear()
            else:
                accept = True
        for connection in ready:
            self._guard(connection, partial(self._serve, connection, now_s), now_s)
        self._posted.run()
        self._send_answers(now_s)
        self._expire_calls(now_s)
        # Last: a descriptor that was closed above may come back here as a new connection, and
        # the events of this poll are not about that one.
        if accept:
            self._accept(now_s)
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + _SWEEP_S
            self._sweep(now_s)

    def _guard(self, connection: DoorConnection, action: Callable[[], None], now_s: float) -> None:
        """Run what one peer caused; whatever goes wrong in it costs that peer, not the door."""
        if connection.closed:
            return
        try:
            action()
        except ProtocolError as error:
            self._book.counts.broke_protocol += 1
            self._drop(connection, error.message)
        except Denied as error:  # Of a certificate.
            self._refuse(connection, error, now_s)
            self._guard(connection, partial(connection.flush, now_s), now_s)
        except OSError as error:
            self._drop_late(connection, connection.lost(error))
            self._part(connection)  # The network's doing.
        except Exception:
            logger.exception("connection dropped by a mistake of ours peer=%s", connection.peer)
            self._part(connection)
        else:
            self._settle(connection, now_s)

    def _on_socket(self, connection: DoorConnection, event: int, now_s: float) -> None:
        if event & select.EPOLLIN and connection.listening:
            if not connection.receive(now_s):
                self._part(connection)
                return
        elif event & (_GONE | select.EPOLLRDHUP):
            # Nothing is left to read, or nothing will be read: calls in flight have no owner.
            self._drop_late(connection, connection.lost())
            self._part(connection)
            return
        self._serve(connection, now_s)

    def _serve(self, connection: DoorConnection, now_s: float) -> None:
        """Take whole frames while the peer may call, and send what it is owed."""
        for _ in range(_CALLS_PER_TURN):
            if not connection.takes_calls:
                connection.flush(now_s)
                if not connection.takes_calls:
                    return  # The next answer, or the socket taking more, brings us back.
            request = connection.next_request(now_s)
            if request is None:
                break
            self._take(connection, request, now_s)
        else:
            self._ready[connection] = None
        connection.flush(now_s)

    def _take(self, connection: DoorConnection, request: Request, now_s: float) -> None:
        if not connection.greeted:
            self._greet(connection, request, now_s)
            return
        if request.method == HELLO_METHOD:
            raise ProtocolError("the peer said hello twice")
        self._book.counts.calls += 1
        answer = self._handler.answer(connection, request)
        if isinstance(answer, bytes):
            connection.send(request.sequence, answer)
            return
        call = Call(connection, request, answer)
        connection.park(call)
        timeout_s = min(answer.timeout_s, self._limits.call_deadline_max_s)
        call.deadline_handle = self._deadlines.add(call, now_s + timeout_s)
        answer.bind(partial(self._on_answer, call))

    def _greet(self, connection: DoorConnection, request: Request, now_s: float) -> None:
        if request.method != HELLO_METHOD:
            raise ProtocolError("the peer called before it said hello")
        refusal = connection.unknown
        if refusal is None:
            answer, refusal = self._handler.greet(connection, request.body)
        else:
            answer = self._handler.error_reply(refusal)
        connection.send(request.sequence, answer)
        if refusal is not None:
            self._refuse(connection, refusal, now_s)
            return
        connection.greet()
        self._strangers.pop(connection.descriptor, None)

    def _refuse(self, connection: DoorConnection, error: GfsError, now_s: float) -> None:
        """End a connection once the peer has heard why."""
        self._book.counts.refused += 1
        self._book.note(f"refused peer={connection.peer}: {error.message}")
        connection.hang_up(now_s)

    # Answers that come later.

    def _on_answer(self, call: Call, answer: bytes) -> None:
        """Take an answer from any thread."""
        self._answers.append((call, answer))
        self._wakeup.set()

    def _send_answers(self, now_s: float) -> None:
        touched: dict[DoorConnection, None] = {}
        for _ in range(len(self._answers)):
            call, answer = self._answers.popleft()
            if call.connection.unpark(call):
                self._deadlines.discard(call, call.deadline_handle)
                call.connection.send(call.sequence, self._handler.fitting(answer))
                touched[call.connection] = None
        for connection in touched:
            self._guard(connection, partial(self._serve, connection, now_s), now_s)

    def _expire_calls(self, now_s: float) -> None:
        for call in self._deadlines.expired(now_s):
            if not self._abandon(call):
                continue  # Its answer is on the way.
            call.connection.unpark(call)
            self._book.counts.calls_expired += 1
            timeout_s = min(call.deferred.timeout_s, self._limits.call_deadline_max_s)
            error = DeadlineExceeded(
                f"the server had no answer within {timeout_s:.1f} s; the outcome is unknown"
            )
            call.connection.send(call.sequence, self._handler.error_reply(error))
            self._guard(call.connection, partial(self._serve, call.connection, now_s), now_s)

    def _abandon(self, call: Call) -> bool:
        try:
            return call.deferred.abandon()
        except Exception:
            logger.exception("on_close failed peer=%s", call.connection.peer)
            return True

    # Connections come and go.

    def _accept(self, now_s: float) -> None:
        try:
            accepted = self._listener.accept()
        except Starved:
            self._starve(now_s)
            return
        for sock, peer in accepted:
            if len(self._connections) >= self._limits.connections_max and not self._make_room():
                sock.close()
                self._book.counts.turned_away += 1
                self._book.note(f"turned away peer={peer}: {len(self._connections)} connections")
                continue
            tls = self._trust.accepted(EVERYBODY)
            connection = DoorConnection(sock, peer, self._limits, now_s, tls)
            self._connections[connection.descriptor] = connection
            self._strangers[connection.descriptor] = connection
            self._epoll.register(connection.descriptor, _READ)
            connection.events = _READ
            self._book.counts.accepted += 1

    def _starve(self, now_s: float) -> None:
        self._book.note("out of descriptors; raise the limit of open files")
        if self._make_room():
            return
        self._book.counts.turned_away += 1
        if not self._listener.turn_away():
            self._epoll.unregister(self._listener.descriptor)
            self._accept_again_s = now_s + _ACCEPT_PAUSE_S

    def _make_room(self) -> bool:
        """Drop the peer that has longest said no hello; return False if there is none."""
        for connection in self._strangers.values():
            self._book.counts.turned_away += 1
            self._drop(connection, "gave its place to another peer")
            return True
        return False

    def _drop(self, connection: DoorConnection, reason: str) -> None:
        """End a connection that did wrong: said in the log, and reset."""
        if not connection.closed:
            self._book.note(f"dropped peer={connection.peer}: {reason}")
            self._part(connection, reset=True)

    def _drop_late(self, connection: DoorConnection, reason: str | None) -> None:
        """Drop a connection that used up its time, if that is so."""
        if reason is not None:
            self._book.counts.overdue += 1
            self._drop(connection, reason)

    def _part(self, connection: DoorConnection, reset: bool = False) -> None:
        """End a connection and give up its calls."""
        if connection.closed:
            return
        self._connections.pop(connection.descriptor, None)
        self._strangers.pop(connection.descriptor, None)
        self._ready.pop(connection, None)
        self._held_bytes -= connection.counted_bytes
        connection.counted_bytes = 0
        self._epoll.unregister(connection.descriptor)
        connection.close(reset)
        for call in list(connection.calls.values()):
            connection.unpark(call)
            self._deadlines.discard(call, call.deadline_handle)
            self._abandon(call)

    def _settle(self, connection: DoorConnection, now_s: float) -> None:
        """Bring epoll and the totals up to date after something happened to a connection."""
        if connection.closed:
            return
        if self._draining and not connection.calls and not connection.owed:
            self._part(connection)
            return
        listening = connection.listening
        events = (_READ if listening else select.EPOLLRDHUP) | (
            select.EPOLLOUT if connection.owed else 0
        )
        if events != connection.events:
            if not listening:
                connection.pause()
            connection.events = events
            self._epoll.modify(connection.descriptor, events)
        held = connection.held_bytes
        self._held_bytes += held - connection.counted_bytes
        connection.counted_bytes = held
        if self._held_bytes > self._limits.door_bytes_max:
            greediest = max(self._connections.values(), key=lambda c: c.counted_bytes)
            self._drop(greediest, f"made the door hold {greediest.counted_bytes} bytes")

    def _sweep(self, now_s: float) -> None:
        for connection in list(self._connections.values()):
            self._drop_late(connection, connection.overdue(now_s))
        if self._trust.due(now_s):
            for connection in list(self._connections.values()):
                error = self._trust.judge(connection.tls)
                if error is not None:
                    self._book.counts.refused += 1
                    self._drop(connection, error.message)
        if self._accept_again_s is not None and now_s >= self._accept_again_s:
            self._accept_again_s = None
            self._epoll.register(self._listener.descriptor, select.EPOLLIN)
        self._listener.refill()  # Where that fails, the next sweep tries again.
        self._book.turn_page()

    # The end.

    def _finished(self) -> bool:
        stop_at_s = self._stop_at_s
        if stop_at_s is None:
            return False
        if not self._draining:
            self._draining = True
            self._listener.close()
            self._accept_again_s = None
            now_s = self._runtime.monotonic_s()
            for connection in list(self._connections.values()):
                connection.refuse()
                self._settle(connection, now_s)
        return not self._connections or self._runtime.monotonic_s() >= stop_at_s

    def _shut(self) -> None:
        self._listener.close()
        for connection in list(self._connections.values()):
            self._part(connection)
        self._wakeup.close()
        self._epoll.close()
