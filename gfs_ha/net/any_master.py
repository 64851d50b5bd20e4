"""The link to whichever master answers reads: one stays the favourite until it fails."""

from __future__ import annotations

import logging

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
from gfs_ha.protocol.calls import SERVE_METHOD, CallBody, ReadTerms, Reply
from gfs_ha.protocol.codec import Failure, encode
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

PATIENCE_S = 1.0  # Longer than a follower waits for a leader that it is about to miss.
AVOID_S = 5.0  # A master that did not answer is asked last for this long …
AVOID_REFUSING_S = 0.25  # … and one that had no good answer for this long.

_ELSEWHERE = (NotLeader, NotReady, Overloaded, DeadlineExceeded)


class AnyMasterLink:
    """One attempt per call, at a master that has an answer; retrying is the caller's business.

    Clients spread by chance. Of two that are as good the follower is asked: a leader has its own
    work. Who failed is asked last for a while, so that the next attempt goes elsewhere.
    Thread-safe.
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

        An answer without a leader is taken only if none of the others has a better one now: its
        master may be cut off, or was removed while it was away.

        Raises: Unreachable, DeadlineExceeded, Overloaded, WrongCluster.
        """
        deadline_s = self._runtime.monotonic_s() + timeout_s
        name = self._favourite()
        answer = self._ask(name, body, deadline_s, terms)
        if not _degraded(answer):
            return answer
        asked = {name}
        while other := self._other_than(asked):
            asked.add(other)
            try:
                second = self._ask(other, body, deadline_s, terms)
            except GfsError as error:
                logger.debug("no better answer master=%s error=%s", other, error.message)
                continue
            if second.as_of is not None and not _refused(second) and not _degraded(second):
                self._avoid(name, AVOID_S)  # It knows less than others do.
                return second
        return answer

    def _ask(self, name: str, body: CallBody, deadline_s: float, terms: ReadTerms) -> Answer:
        try:
            caller = self._connections.caller(name)
            patient_s = min(deadline_s, self._runtime.monotonic_s() + PATIENCE_S)
            trace_id = self._connections.trace_id
            context = call_context(self._runtime, patient_s, terms, trace_id)
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

    def _other_than(self, asked: set[str]) -> str:
        """Return a master that is not avoided and was not asked yet, or an empty string."""
        now_s = self._runtime.monotonic_s()
        with self._lock:
            avoided = {name for name, until_s in self._avoided_until_s.items() if until_s > now_s}
        names = [
            name
            for name in self._connections.names
            if name not in asked and name not in avoided and not self._leader.left(name)
        ]
        return names[0] if names else ""

    def _favourite(self) -> str:
        """Return whom to ask: a member, not who failed a moment ago, a follower, else by chance."""
        now_s = self._runtime.monotonic_s()
        leader = self._leader.leader
        names = self._connections.names
        with self._lock:
            avoided = dict(self._avoided_until_s)

        def rank(index: int) -> tuple[bool, float, bool, int]:
            name = names[index]
            avoided_s = max(0.0, avoided.get(name, now_s) - now_s)
            chance = (index + self._start) % len(names)
            return self._leader.left(name), avoided_s, name == leader, chance

        return names[min(range(len(names)), key=rank)]

    def _failed(self, name: str, error: GfsError) -> None:
        if isinstance(error, Unreachable | ProtocolError | DeadlineExceeded):
            # A stopped process keeps its connections: its late answers are of no use.
            self._connections.drop(name)
            self._leader.note_absence(name)
        self._avoid(name, AVOID_S)

    def _heed(self, name: str, answer: Answer) -> None:
        if _refused(answer):
            self._avoid(name, AVOID_REFUSING_S)
            if any(_is_of(NotLeader, reply) for reply in answer.replies):
                self._leader.note_absence(name)
            self._leader.ask_members(name)
        elif _degraded(answer):
            self._avoid(name, AVOID_REFUSING_S)  # Another one may know more.
            self._leader.ask_members(name)
        else:
            self._leader.note_presence()
            self._leader.refresh(name)

    def _avoid(self, name: str, seconds: float) -> None:
        with self._lock:
            self._avoided_until_s[name] = self._runtime.monotonic_s() + seconds


def _degraded(answer: Answer) -> bool:
    return answer.as_of is not None and answer.as_of.degraded


def _refused(answer: Answer) -> bool:
    """Return whether another master may do what this one cannot."""
    return any(_is_of(_ELSEWHERE, reply) for reply in answer.replies)


def _is_of(kinds: type[GfsError] | tuple[type[GfsError], ...], reply: Reply) -> bool:
    return isinstance(reply, Failure) and isinstance(
        error_from_wire(reply.error, reply.message, {}), kinds
    )
