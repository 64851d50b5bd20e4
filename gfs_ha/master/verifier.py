"""Compares the states of the masters while this one leads: by request, and once an hour.

One check: `VerifyState` makes every master note its hash at one index; all of them are asked for
it; `AttestState` says what the majority has, and whoever noted another hash takes itself out when
it applies that. Each check runs in a task of its own; one at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from gfs_ha.errors import Busy, GfsError, InternalError, NotReady, PreconditionFailed
from gfs_ha.ids import LogIndex
from gfs_ha.kv.ordered import OrderedKV
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.proposals import Proposer, reply_of
from gfs_ha.master.raft.contract import LEADER, Outcome
from gfs_ha.master.state.commands import AttestState, LeaderCommand, VerifyState
from gfs_ha.master.state.view import View
from gfs_ha.master.verification import due, hash_at, judge, report_of
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.protocol.state_checks import StateReport
from gfs_ha.runtime import Future, Runtime, Task

logger = logging.getLogger(__name__)

T = TypeVar("T")

BEHIND_S = 5.0  # How long masters that answer are waited for until they come to the check…
SILENT_S = 1.0  # …and those that do not answer at all.
_PAUSE_S = 0.02
_GRACE_S = 1.0
_BUSY_RETRY_MS = 200

AskAll = Callable[[], Mapping[str, MasterFacts | GfsError]]
OnReport = Callable[[StateReport | GfsError], None]


class Verifier:
    """The checks of one master's reigns. Thread-safe."""

    def __init__(
        self,
        members: Callable[[], Sequence[str]],
        kv: OrderedKV,
        proposer: Proposer,
        runtime: Runtime,
        ask_all: AskAll,
    ) -> None:
        self._members = members
        self._kv = kv
        self._proposer = proposer
        self._runtime = runtime
        self._ask_all = ask_all
        self._lock = runtime.lock()
        self._task: Task | None = None
        self._stopping = False

    def check(self, on_report: OnReport) -> None:
        """Begin a check; `on_report` hears its result, or Busy while another one runs."""
        self._begin(self._check, on_report)

    def count(self, on_index: Callable[[int | GfsError], None]) -> None:
        """Have every master count its rows; `on_index` hears which command asked for that."""
        self._begin(self._ask_for_counts, on_index)

    def _begin(self, work: Callable[[], T], on_done: Callable[[T | GfsError], None]) -> None:
        with self._lock:
            if self._stopping:
                error: GfsError | None = NotReady("this master stops")
            elif self._task is not None and self._task.running():
                error = Busy("the masters' states are being compared", retry_ms=_BUSY_RETRY_MS)
            else:
                error = None
                self._task = self._runtime.spawn("verifier", partial(self._run, work, on_done))
        if error is not None:
            on_done(error)

    def every_minute(self) -> None:
        """Begin a check if this master leads and the newest one is an hour old."""
        if self._proposer.status().role != LEADER:
            return
        with self._kv.read() as reader:
            view = View(reader)
            wanted = view.settings() is not None and due(
                view.state_check(), view.counters().cluster_ms
            )
        if wanted:
            self.check(_log_failure)

    def stop(self, timeout_s: float) -> bool:
        """Begin no more checks; return whether none runs any more."""
        with self._lock:
            self._stopping = True
            task = self._task
        return task is None or task.join(timeout_s)

    def _run(self, work: Callable[[], T], on_done: Callable[[T | GfsError], None]) -> None:
        try:
            result: T | GfsError = work()
        except GfsError as error:
            result = self._proposer.for_client(error)
        except Exception:
            # The top of this thread: a check that fails must not stop a master.
            logger.exception("a check of the states failed")
            result = InternalError("the check failed inside; the master's log says why")
        on_done(result)

    def _ask_for_counts(self) -> int:
        self._refuse_older_releases()
        return self._propose(VerifyState(deep=True)).index

    def _check(self) -> StateReport:
        self._refuse_older_releases()
        outcome = self._propose(VerifyState())
        members = tuple(self._members())
        verdict = judge(LogIndex(outcome.index), members, self._gather(outcome.index, members))
        _log_verdict(verdict)
        self._propose(verdict)
        return self._report(verdict)

    def _refuse_older_releases(self) -> None:
        """Raises: PreconditionFailed; a master that does not know the command would stop at it."""
        for name, facts in self._ask_all().items():
            if isinstance(facts, MasterFacts) and facts.state is None:
                raise PreconditionFailed(
                    f"master {name} runs release {facts.version}, which keeps no hash of its"
                    " state; install the same release on all masters"
                )

    def _gather(self, index: int, members: Sequence[str]) -> dict[str, bytes]:
        """Return the hashes that the masters noted at `index`, waiting for those that are late."""
        began_s = self._runtime.monotonic_s()
        while True:
            said = self._ask_all()
            answers = {}
            behind = silent = 0
            for name in members:
                facts = said.get(name)
                if not isinstance(facts, MasterFacts):
                    silent += 1
                    continue
                value = hash_at(facts, LogIndex(index))
                if value is None:
                    behind += 1
                else:
                    answers[name] = value
            passed_s = self._runtime.monotonic_s() - began_s
            waits_for = BEHIND_S if behind else SILENT_S if silent else 0.0
            if passed_s >= waits_for or self._stopping:
                return answers
            self._runtime.sleep(_PAUSE_S)

    def _propose(self, command: LeaderCommand) -> Outcome:
        future: Future[Outcome] = self._runtime.future()

        def done(outcome: Outcome) -> None:
            future.set(outcome)

        self._proposer.propose(command, REQUEST_DEADLINE_S, done)
        outcome = future.result(REQUEST_DEADLINE_S + _GRACE_S)
        if outcome.error is not None:
            raise outcome.error
        reply = reply_of(outcome)
        if isinstance(reply, Failure):
            raise reply.raised()
        return outcome

    def _report(self, verdict: AttestState) -> StateReport:
        """Return what was written down; an outcome is told before its rows are visible."""
        future: Future[GfsError | None] = self._runtime.future()

        def visible(error: GfsError | None) -> None:
            future.set(error)

        self._proposer.read_index(REQUEST_DEADLINE_S, visible)
        error = future.result(REQUEST_DEADLINE_S + _GRACE_S)
        if error is not None:
            raise error
        with self._kv.read() as reader:
            check = View(reader).state_check()
        if check is None or check.index < verdict.index:
            raise NotReady("the result of the check is not visible yet; ask again")
        return report_of(check)


def _log_verdict(verdict: AttestState) -> None:
    level = logging.INFO
    if verdict.differing or not verdict.value:
        level = logging.ERROR
    logger.log(
        level,
        "states compared index=%d majority=%s equal=%s differ=%s silent=%s",
        verdict.index,
        verdict.value.hex() or "none",
        ",".join(verdict.agreed) or "-",
        ",".join(verdict.differing) or "-",
        ",".join(verdict.missing) or "-",
    )


def _log_failure(report: StateReport | GfsError) -> None:
    if isinstance(report, GfsError):
        logger.warning("the states were not compared because=%s", report.message)
