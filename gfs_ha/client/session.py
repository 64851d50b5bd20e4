"""A client's session: sequences that make each change exactly-once, claims, and its renewal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.client.publications import Publications, travels_with_others
from gfs_ha.client.window import Window
from gfs_ha.errors import (
    DeadlineExceeded,
    GfsError,
    ProtocolError,
    SessionExpired,
    Unreachable,
)
from gfs_ha.ids import NO_SESSION, ChunkId, SessionId
from gfs_ha.limits import RENEW_PERIOD_S
from gfs_ha.protocol.calls import Asked, Reply, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    CloseSession,
    Done,
    OpenSession,
    Publish,
    Published,
    PublishedFile,
    PublishFile,
    Renew,
    SessionOpened,
)
from gfs_ha.runtime import Runtime, Task

T = TypeVar("T")

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 3.0
IDLE_CHECK_S = 3600.0  # After this much silence ask first whether the session still lives.


class Session:
    """Numbers every change and sends it through `ClusterCalls`. Thread-safe.

    The session is opened before the first change and closed by `close`. One that expired is never
    used again, and nothing that was sent under it is sent under the next one (S2).
    """

    def __init__(self, calls: ClusterCalls, runtime: Runtime, client_name: str) -> None:
        self._calls = calls
        self._runtime = runtime
        self._client_name = client_name
        self._state = runtime.condition()
        self._session_id: SessionId | None = None
        self._window = Window()
        self._opening = False
        self._closed = False
        self._claims: set[ChunkId] = set()
        self._renewal: Task | None = None
        self._answered_s = 0.0
        self._publications = Publications(self._publish_all, runtime)

    def change(
        self,
        request: Request,
        kind: type[T],
        give_up: tuple[type[GfsError], ...] = (),
        timeout_s: float | None = None,
    ) -> T:
        """Return the reply to one change. Raises: what refuses it, UnknownOutcome, NoLeader.

        Args: `give_up` names errors that are raised at once although a retry might help;
        `timeout_s` is how long it is tried, or None for the timeout of the connection.
        """
        if timeout_s is None and not give_up and travels_with_others(request):
            file = cast(Publish, request).files[0]
            return expect(self._publications.publish(file, self._calls.timeout_s), kind)
        return expect(self.change_all((request,), give_up, timeout_s)[0], kind)

    def ask(self, request: Request, kind: type[T]) -> T:
        """Return the reply to a request that changes nothing, asked in the name of the session.

        Raises: what the leader refuses, NoLeader.
        """
        with self._state:
            session_id = self._session_id or NO_SESSION
        return expect(self._calls.settle((Asked(request, session_id),))[0], kind)

    def change_all(
        self,
        requests: Sequence[Request],
        give_up: tuple[type[GfsError], ...] = (),
        timeout_s: float | None = None,
    ) -> list[Reply]:
        """Return the reply to each of several changes, sent in one call; refusals are Failures.

        They are independent: one that is refused does not stop the others.
        """
        session_id, asked = self._number(requests)
        try:
            replies = self._calls.settle(asked, timeout_s, give_up)
        finally:
            with self._state:
                if self._session_id == session_id:
                    for one in asked:
                        self._window.settle(one.sequence)
                self._state.notify_all()
        self._answered_s = self._runtime.monotonic_s()
        if any(_says_expired(reply) for reply in replies):
            self._forget(session_id)
        return replies

    def _publish_all(
        self, files: tuple[PublishFile, ...], timeout_s: float
    ) -> tuple[PublishedFile, ...]:
        reply = self.change_all((Publish(files),), timeout_s=timeout_s)[0]
        published = expect(reply, Published).files
        if len(published) != len(files):
            raise ProtocolError(f"{len(published)} results for {len(files)} files")
        return published

    # Claims -------------------------------------------------------------------------------------

    def claim(self, chunk_id: ChunkId) -> None:
        """Note that the session claims a chunk: from now on it is renewed in the background."""
        with self._state:
            self._claims.add(chunk_id)
            if self._renewal is None and not self._closed:
                self._renewal = self._runtime.spawn("session renewal", self._renew)

    @property
    def claim_count(self) -> int:
        """Return how many chunks the session claims."""
        return len(self._claims)

    def release(self, chunk_ids: Iterable[ChunkId]) -> None:
        """Note that claims ended."""
        with self._state:
            self._claims.difference_update(chunk_ids)

    # Life ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the session: claims are released, what was not published is discarded.

        An end that does not reach the leader within 3 s is left to the leader's own clock.
        """
        with self._state:
            if self._closed:
                return
            self._closed = True
            session_id = self._session_id
            sequence = self._window.take() if session_id is not None and self._window.room else 0
            asked = (
                Asked(CloseSession(), session_id, sequence, self._window.start)
                if session_id is not None and sequence
                else None
            )
            self._state.notify_all()
        if asked is None:
            return
        try:
            timeout_s = min(self._calls.timeout_s, CLOSE_TIMEOUT_S)
            expect(self._calls.settle((asked,), timeout_s)[0], Done)
        except GfsError as error:
            # The leader ends its claims after 120 s of silence, and the session after 24 h.
            logger.info("session left to expire session=%d error=%s", session_id, error.message)

    def _number(self, requests: Sequence[Request]) -> tuple[SessionId, tuple[Asked, ...]]:
        deadline_s = self._runtime.monotonic_s() + self._calls.timeout_s
        while True:
            session_id = self._ensure_open(deadline_s)
            with self._state:
                if self._session_id != session_id:
                    continue
                if self._window.room >= len(requests):
                    return session_id, tuple(self._take(one, session_id) for one in requests)
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    raise DeadlineExceeded("too many changes of this client are under way")
                self._state.wait(left_s)

    def _take(self, request: Request, session_id: SessionId) -> Asked:
        sequence = self._window.take()
        return Asked(request, session_id, sequence, self._window.start)

    def _ensure_open(self, deadline_s: float) -> SessionId:
        self._check_idle()
        with self._state:
            while True:
                if self._closed:
                    raise Unreachable("the connection to the cluster is closed")
                if self._session_id is not None:
                    return self._session_id
                if not self._opening:
                    self._opening = True
                    break
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    raise DeadlineExceeded("no session was opened in time")
                self._state.wait(left_s)
        return self._open()

    def _open(self) -> SessionId:
        opened: SessionId | None = None
        try:
            request = OpenSession(self._client_name)
            opened = self._calls.ask(request, SessionOpened).session_id
        finally:
            with self._state:
                self._opening = False
                if opened is not None:
                    self._session_id = opened
                    self._window = Window()
                    self._answered_s = self._runtime.monotonic_s()
                self._state.notify_all()
        return opened

    def _check_idle(self) -> None:
        """After long silence, make sure that the session lives before anything is sent under it."""
        session_id = self._session_id
        idle_s = self._runtime.monotonic_s() - self._answered_s
        if session_id is None or idle_s < IDLE_CHECK_S:
            return
        self._send_renew(session_id)

    def _forget(self, session_id: SessionId) -> None:
        with self._state:
            if self._session_id == session_id:
                self._session_id = None
                self._claims.clear()
            self._state.notify_all()

    def _renew(self) -> None:
        """Say every 30 s that the session lives, as long as it claims chunks (C11)."""
        while True:
            with self._state:
                deadline_s = self._runtime.monotonic_s() + RENEW_PERIOD_S
                while self._claims and not self._closed:
                    left_s = deadline_s - self._runtime.monotonic_s()
                    if left_s <= 0:
                        break
                    self._state.wait(left_s)
                session_id = self._session_id
                if self._closed or not self._claims or session_id is None:
                    self._renewal = None
                    return
            try:
                self._send_renew(session_id)
            except GfsError as error:
                logger.info("renewal failed session=%d error=%s", session_id, error.message)

    def _send_renew(self, session_id: SessionId) -> None:
        try:
            expect(self._calls.settle((Asked(Renew(), session_id),))[0], Done)
            self._answered_s = self._runtime.monotonic_s()
        except SessionExpired:
            self._forget(session_id)


def _says_expired(reply: Reply) -> bool:
    if not isinstance(reply, Failure):
        return False
    name = SessionExpired.__name__
    return reply.error == name or reply.details.get("cause") == name
