"""The link to whichever master answers reads: one stays the favourite until it fails."""

from __future__ import annotations

from gfs_ha.errors import (
    DeadlineExceeded,
    Denied,
    GfsError,
    NotLeader,
    NotReady,
    Overloaded,
    ProtocolError,
    Unreachable,
    error_from_wire,
)
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.masters import Answer, call_context, read_answer
from gfs_ha.protocol.calls import SERVE_METHOD, CallBody, ReadTerms
from gfs_ha.protocol.codec import Failure, encode
from gfs_ha.runtime import Runtime

PATIENCE_S = 1.0  # Longer than a follower waits for a leader that it is about to miss.
AVOID_S = 5.0  # A master that did not answer is asked last for this long …
AVOID_REFUSING_S = 0.25  # … and one that had no good answer for this long.

_ELSEWHERE = (NotLeader, NotReady, Overloaded, DeadlineExceeded)


class AnyMasterLink:
    """One attempt per call, at one master; retrying is the caller's business. Thread-safe.

    Clients spread by chance. Of two that are as good the follower is asked: a leader has its own
    work. Who failed is asked last for a while, so that the next attempt goes elsewhere.
    """

    def __init__(self, leader: LeaderLink, runtime: Runtime) -> None:
        self._leader = leader
        self._connections = leader.connections
        self._runtime = runtime
        self._lock = runtime.lock()
        self._avoided_until_s: dict[str, float] = {}
        self._start = runtime.random_u64()

    def exchange(self, body: CallBody, timeout_s: float, terms: ReadTerms) -> Answer:
        """Return a master's replies, one per request, and which moment they show.

        Raises: Unreachable, DeadlineExceeded, Overloaded, WrongCluster.
        """
        deadline_s = self._runtime.monotonic_s() + timeout_s
        name = self._favourite()
        try:
            caller = self._connections.caller(name)
            patient_s = min(deadline_s, self._runtime.monotonic_s() + PATIENCE_S)
            context = call_context(self._runtime, patient_s, terms)
            left_s = patient_s - self._runtime.monotonic_s()
            data = caller.call(SERVE_METHOD, context, encode(body), left_s)
            answer = read_answer(data, len(body), dated=True)
        except Denied:
            raise
        except GfsError as error:
            self._failed(name, error)
            raise
        self._heed(name, answer)
        return answer

    def _favourite(self) -> str:
        """Return whom to ask: not who failed a moment ago, rather a follower, else by chance."""
        now_s = self._runtime.monotonic_s()
        leader = self._leader.leader
        names = self._connections.names
        with self._lock:
            avoided = dict(self._avoided_until_s)

        def rank(index: int) -> tuple[float, bool, int]:
            avoided_s = max(0.0, avoided.get(names[index], now_s) - now_s)
            return avoided_s, names[index] == leader, (index + self._start) % len(names)

        return names[min(range(len(names)), key=rank)]

    def _failed(self, name: str, error: GfsError) -> None:
        if isinstance(error, Unreachable | ProtocolError | DeadlineExceeded):
            # A stopped process keeps its connections: its late answers are of no use.
            self._connections.drop(name)
            self._leader.note_absence(name)
        self._avoid(name, AVOID_S)

    def _heed(self, name: str, answer: Answer) -> None:
        for reply in answer.replies:
            if isinstance(reply, Failure) and _is_better_elsewhere(reply):
                self._avoid(name, AVOID_REFUSING_S)
                if reply.error == NotLeader.__name__:
                    self._leader.note_absence(name)
                return
        if answer.as_of is not None and answer.as_of.degraded:
            self._avoid(name, AVOID_REFUSING_S)  # Another one may know more.
        else:
            self._leader.note_presence()
            self._leader.refresh(name)

    def _avoid(self, name: str, seconds: float) -> None:
        with self._lock:
            self._avoided_until_s[name] = self._runtime.monotonic_s() + seconds


def _is_better_elsewhere(reply: Failure) -> bool:
    return isinstance(error_from_wire(reply.error, reply.message, {}), _ELSEWHERE)
