"""Requests to the leading master, tried again until they are answered: nothing else here retries.

A request that changes something keeps its (session, sequence) over all attempts, so that it is
applied once whatever happens between; what is not known at the end is said to be unknown (S2, S3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gfs_ha.client.combiner import Combiner
from gfs_ha.client.consistency import DEFAULT, Consistency, Sightings
from gfs_ha.client.retry import Deadline, pause_s, worth_retrying
from gfs_ha.config import MasterAddress
from gfs_ha.errors import (
    Busy,
    DeadlineExceeded,
    Denied,
    GfsError,
    LimitExceeded,
    NoLeader,
    NoSpace,
    NotLeader,
    ProtocolError,
    SessionExpired,
    UnknownOutcome,
    Unreachable,
)
from gfs_ha.limits import OPERATION_TIMEOUT_S
from gfs_ha.net.any_master import AnyMasterLink
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.masters import ask_master
from gfs_ha.protocol.calls import Asked, AsOf, CallBody, CallReply, Reply, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.runtime import Runtime

T = TypeVar("T")

_ABSENCE = (NoLeader, NotLeader, Unreachable)
_Send = Callable[[CallBody, float], CallReply]
_NOT_TAKEN = (Denied, LimitExceeded)  # Said of a whole call before any of it is looked at.


class ClusterCalls:
    """Asks the leader through failovers, until the deadline of the operation. Thread-safe.

    Args: `timeout_s` is the longest time without an answered command; each attempt carries the
    smaller of the rest and 10 s. `consistency` is for `read` and `read_all` alone: unless it is
    linearizable, any master answers them, and none goes behind what was seen before.
    """

    def __init__(
        self,
        link: LeaderLink,
        runtime: Runtime,
        timeout_s: float = OPERATION_TIMEOUT_S,
        consistency: Consistency = DEFAULT,
    ) -> None:
        self._link = link
        self._any = AnyMasterLink(link, runtime)
        self._consistency = consistency
        self._sightings = Sightings(runtime)
        self._combiner = Combiner(self._ask_leader, runtime)
        self._runtime = runtime
        self.timeout_s = timeout_s
        self._closed = False

    def ask(self, request: Request, kind: type[T], timeout_s: float | None = None) -> T:
        """Return the reply to a request that changes nothing. Raises: what the leader refuses."""
        return expect(self.settle((Asked(request),), timeout_s)[0], kind)

    def read(self, request: Request, kind: type[T]) -> T:
        """Return the reply to a read, as old as the connection's consistency allows."""
        return expect(self.read_all((Asked(request),))[0], kind)

    def read_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """Return the reply to each read, in order. Raises: as `settle`."""
        if self._consistency.led:
            return self.settle(asked)
        return self._settle(_Batch(asked, ()), self._ask_any, self.timeout_s)

    def settle(
        self,
        asked: Sequence[Asked],
        timeout_s: float | None = None,
        give_up: tuple[type[GfsError], ...] = (),
    ) -> list[Reply]:
        """Return the final reply to each request, in order; a refusal is a Failure among them.

        Args: `give_up` names errors of replies that are final although a retry might help.

        Raises: NoLeader, UnknownOutcome, DeadlineExceeded… when the time is over; WrongCluster.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        return self._settle(_Batch(asked, give_up), self._combiner.call, limit_s)

    def _settle(self, batch: _Batch, send: _Send, limit_s: float) -> list[Reply]:
        if self._closed:
            raise Unreachable("the connection to the cluster is closed", sent=0)
        deadline = Deadline(self._runtime.monotonic_s() + limit_s)
        attempt_index = 0
        blocked: GfsError | None = None
        while True:
            error = self._attempt(batch, send, deadline)
            if error is None:
                return batch.replies()
            if error.details.get("blocked"):
                blocked = error
            elif blocked is not None and type(error) is Busy:
                error = blocked  # It says what is waited for, not only that it takes long.
            delay_s = pause_s(error, attempt_index, self._runtime.uniform(0.0, 1.0))
            if self._closed or not deadline.allows(delay_s, self._runtime.monotonic_s()):
                raise batch.final_error(self._described(error, limit_s))
            self._runtime.sleep(delay_s)
            attempt_index += 1

    def beside(self, consistency: Consistency, timeout_s: float) -> ClusterCalls:
        """Return calls over the same link, of which the reads may be as old as that."""
        return ClusterCalls(self._link, self._runtime, timeout_s, consistency)

    def facts(self) -> dict[str, MasterFacts | GfsError]:
        """Return what every master says of itself now; needs no leader."""
        return self._link.facts()

    def facts_at(self, master: MasterAddress) -> MasterFacts:
        """Return what the master at an address says of itself. Raises: Unreachable, Denied…"""
        return self._link.facts_at(master)

    def ask_master(self, name: str, request: Request, kind: type[T], timeout_s: float) -> T:
        """Return what one master answers, whether it leads or not; not tried again.

        Raises: Unreachable, Denied…, what it refuses.
        """
        return expect(ask_master(self._link.connections, name, request, timeout_s), kind)

    @property
    def consistency(self) -> Consistency:
        """Return how old the answers to reads may be."""
        return self._consistency

    @property
    def as_of(self) -> AsOf | None:
        """Return the oldest of the answers since `forget_age`; None when all were the leader's."""
        return self._sightings.oldest

    @property
    def index(self) -> int:
        """Return the newest index of the log that an answer has shown; 0 when none was dated."""
        return self._sightings.index

    def forget_age(self) -> None:
        """Begin anew with `as_of`."""
        self._sightings.forget_age()

    @property
    def runtime(self) -> Runtime:
        """Return what waits and tells the time here."""
        return self._runtime

    @property
    def leader(self) -> str:
        """Return the name of the master that led at the last answer, or an empty string."""
        return self._link.leader

    def close(self) -> None:
        """Fail what is in flight, and hang up. Never blocks."""
        self._closed = True
        self._link.close()

    def _ask_leader(self, body: CallBody, timeout_s: float) -> CallReply:
        if self._consistency.led:
            return self._link.call(body, timeout_s)
        # What was changed or seen at the leader is seen by later reads of other masters, too.
        answer = self._link.exchange(body, timeout_s, self._sightings.led_terms())
        self._sightings.note_index(answer.as_of)
        return answer.replies

    def _ask_any(self, body: CallBody, timeout_s: float) -> CallReply:
        terms = self._consistency.terms(self._sightings.index)
        answer = self._any.exchange(body, timeout_s, terms)
        self._sightings.note(answer.as_of)
        return answer.replies

    def _attempt(self, batch: _Batch, send: _Send, deadline: Deadline) -> GfsError | None:
        """Send what is still open; return None when all is answered, else why not."""
        open_asked = batch.open_asked()
        request_s = deadline.request_s(self._runtime.monotonic_s())
        try:
            replies = send(open_asked, max(request_s, 0.001))
        except GfsError as error:
            if error.details.get("sent", 1) and not isinstance(error, _NOT_TAKEN):
                batch.note_sent()
            if not worth_retrying(error):
                # Also of this the caller must learn whether its change may have been applied.
                raise batch.final_error(error) from None
            return error
        return batch.take(replies)

    def _described(self, error: GfsError, limit_s: float) -> GfsError:
        """Return the error in words for the end of an operation."""
        if isinstance(error, _ABSENCE):
            return NoLeader(self._link.absence())
        if isinstance(error, DeadlineExceeded):
            return DeadlineExceeded(f"no answer from the masters within {limit_s:.0f} s")
        return error


class _Batch:
    """The requests of one call, what is answered, and what may have reached a leader."""

    def __init__(self, asked: Sequence[Asked], give_up: tuple[type[GfsError], ...]) -> None:
        self._asked = tuple(asked)
        self._give_up = give_up
        self._replies: dict[int, Reply] = {}
        self._perhaps_sent: set[int] = set()
        self._adrift: set[int] = set()  # A copy may still be on its way to a leader.

    def open_asked(self) -> tuple[Asked, ...]:
        return tuple(self._asked[index] for index in self._open())

    def note_sent(self) -> None:
        self._perhaps_sent.update(self._open())
        self._adrift.update(self._open())

    def take(self, replies: Sequence[Reply]) -> GfsError | None:
        """Keep the final replies; return the last reason to ask again, or None."""
        again: GfsError | None = None
        for index, reply in zip(self._open(), replies, strict=True):
            if not isinstance(reply, Failure):
                self._replies[index] = reply
                continue
            error = reply.raised()
            if worth_retrying(error) and not isinstance(error, self._give_up):
                if isinstance(error, UnknownOutcome | DeadlineExceeded):
                    self._perhaps_sent.add(index)
                again = error
            elif isinstance(error, SessionExpired) and index in self._perhaps_sent:
                self._replies[index] = _unknown(self._asked[index], error)
            elif isinstance(error, NoSpace) and index in self._adrift:
                # Nobody recorded this refusal: a copy that comes later, to more room, is applied.
                self._replies[index] = _unknown(self._asked[index], error)
            else:
                self._replies[index] = reply
        return again

    def replies(self) -> list[Reply]:
        return [self._replies[index] for index in range(len(self._asked))]

    def final_error(self, error: GfsError) -> GfsError:
        """Return what to raise when the time is over with requests still open."""
        for index in self._open():
            if index in self._perhaps_sent and self._asked[index].sequence:
                return _unknown(self._asked[index], error).raised()
        return error

    def _open(self) -> list[int]:
        return [index for index in range(len(self._asked)) if index not in self._replies]


def _unknown(asked: Asked, error: GfsError) -> Failure:
    what = type(asked.request).__name__
    path = getattr(asked.request, "path", "") or getattr(asked.request, "source", "")
    return Failure(
        UnknownOutcome.__name__,
        f"{what} {path}".strip() + f" may or may not have been applied: {error.message}",
        {"cause": error.code},
    )


def expect(reply: Reply, kind: type[T]) -> T:
    """Return the reply if it is of this kind. Raises: the failure that it is, ProtocolError."""
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, Failure):
        raise reply.raised()
    raise ProtocolError(f"the master answered {type(reply).__name__}, not {kind.__name__}")
