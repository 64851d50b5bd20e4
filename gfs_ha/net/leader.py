"""The link to the leading master: finds it among all masters, follows it, tells when none leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gfs_ha.config import MasterAddress
from gfs_ha.errors import (
    DeadlineExceeded,
    Denied,
    GfsError,
    NoLeader,
    NotLeader,
    ProtocolError,
    Unreachable,
)
from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.net.masters import (
    PROBE_TIMEOUT_S,
    Answer,
    MasterConnections,
    ask_facts,
    call_context,
    read_answer,
)
from gfs_ha.net.network import Network
from gfs_ha.net.roster import Roster
from gfs_ha.protocol.calls import HELLO_METHOD, SERVE_METHOD, CallBody, CallReply, ReadTerms
from gfs_ha.protocol.codec import Failure, Hello, encode
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.runtime import Future, Runtime

assert HELLO_METHOD == 0, "Network.dial says hello by itself"

PATIENCE_S = 1.5  # Longer than a parked heartbeat; then the others are asked who leads.
REFRESH_S = 5.0
_LOOK_AGAIN_S = 1.0  # A master that sends us on is asked so often who the masters are.
PROBE_ROUND_S = 0.3  # One look around; a master that hangs does not hold up the others' answers.

_Epoch = tuple[int, int]
_UNKNOWN: _Epoch = (0, 0)


@dataclass(slots=True)
class _Probe:
    """The newest answer of one master to "who are you?"."""

    running: bool = False
    answered_s: float = -1.0
    facts: MasterFacts | None = None
    error: GfsError | None = None


class LeaderLink:
    """One attempt per call, at whoever leads now; retrying is the caller's business. Thread-safe.

    A call that fails says in `details["sent"]` whether the request can have reached a master:
    0 = certainly not, 1 = perhaps. `trace_id`: see MasterConnections.
    """

    def __init__(
        self,
        masters: Sequence[MasterAddress],
        network: Network,
        hello: Hello,
        runtime: Runtime,
        patience_s: float = PATIENCE_S,
        trace_id: TraceId = NO_TRACE,
    ) -> None:
        self.connections = MasterConnections(masters, network, hello, runtime, trace_id)
        self._runtime = runtime
        self._patience_s = patience_s
        self._changed = runtime.condition()
        self._probes = {name: _Probe() for name in self.connections.names}
        self._roster = Roster()
        self._leader = ""
        self._epoch = _UNKNOWN
        self._finding = False
        self._absent_since_s: float | None = None
        self._tried: dict[str, None] = {}
        self._refresh_s = float("inf")
        self._refresh_at_s = float("inf")

    def keep_learning(self, every_s: float = REFRESH_S) -> None:
        """Hear of new masters while those that one knows still answer, at most so often.

        They may be replaced one by one, and the last of them die without a word.
        """
        self._refresh_s, self._refresh_at_s = every_s, self._runtime.monotonic_s() + every_s

    @property
    def leader(self) -> str:
        """Return the name of the master that led when it was last asked, or an empty string."""
        return self._leader

    def call(self, body: CallBody, timeout_s: float) -> CallReply:
        """Return the leader's replies, one per request, in order; a failed request is a Failure.

        Raises: NoLeader, Unreachable, DeadlineExceeded, Overloaded (all with `sent`), WrongCluster.
        """
        return self.exchange(body, timeout_s).replies

    def exchange(self, body: CallBody, timeout_s: float, terms: ReadTerms | None = None) -> Answer:
        """Return the same as `call`, and with terms the moment that the answer shows."""
        deadline_s = self._runtime.monotonic_s() + timeout_s
        name = self._leader or self._find(timeout_s)
        self._note_tried(name)
        try:
            caller = self.connections.caller(name)
            context = call_context(self._runtime, deadline_s, terms, self.connections.trace_id)
            left_s = deadline_s - self._runtime.monotonic_s()
            future = caller.call_async(SERVE_METHOD, context, encode(body), left_s)
            data = self._wait(name, future, deadline_s)
            answer = read_answer(data, len(body), dated=terms is not None)
        except Denied:
            raise
        except GfsError as error:
            self._lost(name, error)
            raise
        self._heed(name, answer.replies)
        return answer

    def facts(self, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, MasterFacts | GfsError]:
        """Return what every master says of itself now, or why it does not; needs no leader."""
        started_s = self._runtime.monotonic_s()
        deadline_s = started_s + timeout_s
        self._start_probes()
        found: dict[str, MasterFacts | GfsError] = {}
        with self._changed:
            while True:
                waiting = [p for p in self._probes.values() if p.answered_s < started_s]
                left_s = deadline_s - self._runtime.monotonic_s()
                if not waiting or left_s <= 0:
                    break
                self._changed.wait(left_s)
            for name, probe in self._probes.items():
                silent = Unreachable(
                    f"master {name} did not answer in {timeout_s:g} s: is it running?"
                )
                fresh = probe.answered_s >= started_s
                answer = (probe.facts or probe.error) if fresh else None
                found[name] = answer or silent
        return found

    def absence(self) -> str:
        """Return "no leader for 4.2 s; tried m1, m2, m3", and why if none answers, as of now."""
        with self._changed:
            since_s = self._absent_since_s
            names = tuple(self._tried) or tuple(self._probes)
            members = [name for name in names if not self._roster.left(name)]
            tried = ", ".join(members or names)
            troubles = [
                probe.facts.trouble
                for probe in self._probes.values()
                if probe.facts is not None and probe.facts.role == "removed"
            ]
            errors = [probe.error for probe in self._probes.values() if probe.error is not None]
            if len(errors) == len(self._probes):
                troubles.append(f"none answers: {errors[0].message}")
        age_s = 0.0 if since_s is None else self._runtime.monotonic_s() - since_s
        return "; ".join([f"no leader for {age_s:.1f} s", f"tried {tried}", *troubles])

    def facts_at(self, master: MasterAddress) -> MasterFacts:
        """Return what answers at an address, whoever it is; nobody else hears of the address.

        Raises: Unreachable, DeadlineExceeded, WrongCluster, ProtocolError (no master).
        """
        connections = self.connections.apart(master)
        try:
            return ask_facts(connections, master.name)
        finally:
            connections.close()

    def close(self) -> None:
        """Hang up; calls in flight fail. Never blocks."""
        self.connections.close()
        with self._changed:
            self._changed.notify_all()

    def note_absence(self, name: str) -> None:
        """Hear that a master that was asked for a read is gone, or knows no leader."""
        with self._changed:
            self._note_absent()
            self._tried[name] = None

    def note_presence(self) -> None:
        """Hear that there was an answer of a moment when somebody led."""
        with self._changed:
            self._absent_since_s = None
            self._tried.clear()

    # Calling ------------------------------------------------------------------------------------

    def _wait(self, name: str, future: Future[bytes], deadline_s: float) -> bytes:
        """Return the answer, or give up early when meanwhile another master leads.

        A paused or cut-off leader keeps its connections; without this look around, its clients
        would wait for the whole deadline although a successor serves.
        """
        while True:
            left_s = deadline_s - self._runtime.monotonic_s()
            try:
                return future.result(max(0.0, min(left_s, self._patience_s)))
            except DeadlineExceeded as error:
                if future.done():
                    raise
                if left_s <= self._patience_s:
                    raise DeadlineExceeded(
                        f"master {name} did not answer in time", sent=1
                    ) from error
            successor = self._look_around(name)
            if successor:
                self.connections.drop(name)
                raise Unreachable(f"master {name} is silent and {successor} leads", sent=1)

    def _heed(self, name: str, replies: CallReply) -> None:
        """Follow a NotLeader's hint; note that there is a leader otherwise."""
        for reply in replies:
            if isinstance(reply, Failure) and reply.error == NotLeader.__name__:
                hint = str(reply.details.get("leader", ""))
                host, port = reply.details.get("host", ""), reply.details.get("port", 0)
                self.learn(hint, str(host), port if isinstance(port, int) else 0)
                with self._changed:
                    self._note_absent()
                    if self._leader in ("", name):
                        self._leader = hint if hint in self._probes and hint != name else ""
                        self._epoch = _UNKNOWN
                return
        self.note_presence()
        self.refresh(name)

    def refresh(self, name: str) -> None:
        """Ask a master that has just answered who the masters are, if it is time to."""
        now_s = self._runtime.monotonic_s()
        if now_s >= self._refresh_at_s:
            self._refresh_at_s = now_s + self._refresh_s
            self._start_probe(name)

    def ask_members(self, name: str) -> None:
        """Ask a master that has no good answer who the masters are, not too often.

        All that one knows may have left, or be of an older incarnation.
        """
        if self._probes[name].answered_s < self._runtime.monotonic_s() - _LOOK_AGAIN_S:
            self._start_probe(name)

    def left(self, name: str) -> bool:
        """Return whether a master was heard to be none of the members."""
        return self._roster.left(name)

    def learn(self, name: str, host: str, port: int) -> bool:
        """Hear where a master is; return whether it was unknown."""
        if not self.connections.learn(name, host, port):
            return False
        with self._changed:
            self._probes.setdefault(name, _Probe())
        return True

    def _lost(self, name: str, error: GfsError) -> None:
        error.details.setdefault("sent", 1)
        if isinstance(error, Unreachable | ProtocolError):
            self.connections.drop(name)
        with self._changed:
            self._note_absent()
            if self._leader == name:
                self._leader = ""
                self._epoch = _UNKNOWN

    def _note_absent(self) -> None:
        if self._absent_since_s is None:
            self._absent_since_s = self._runtime.monotonic_s()

    def _note_tried(self, name: str) -> None:
        with self._changed:
            if self._absent_since_s is not None:
                self._tried[name] = None

    # Finding ------------------------------------------------------------------------------------

    def _find(self, timeout_s: float) -> str:
        """Return the leader's name after one look around. Raises: NoLeader, WrongCluster."""
        deadline_s = self._runtime.monotonic_s() + min(timeout_s, PROBE_ROUND_S)
        with self._changed:
            self._note_absent()
            while self._finding and not self._leader:
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0 or self.connections.closed:
                    break
                self._changed.wait(left_s)
            if self._leader:
                return self._leader
            searching = not self._finding
            self._finding = True
        if not searching:
            raise NoLeader(self.absence(), sent=0)
        try:
            found = self._look_around("")
        finally:
            with self._changed:
                self._finding = False
                self._changed.notify_all()
        if not found:
            self._raise_denial()
            raise NoLeader(self.absence(), sent=0)
        return found

    def _look_around(self, suspect: str) -> str:
        """Ask all masters who they are; return who leads in a newer epoch than `suspect` did."""
        started_s = self._runtime.monotonic_s()
        deadline_s = started_s + PROBE_ROUND_S
        self._start_probes()
        with self._changed:
            while not self.connections.closed:
                best = self._best_leader(started_s, suspect)
                if best is not None:
                    self._leader, self._epoch = best
                    self._changed.notify_all()
                    return self._leader
                pending = any(
                    probe.answered_s < started_s
                    for name, probe in self._probes.items()
                    if name != suspect
                )
                left_s = deadline_s - self._runtime.monotonic_s()
                if not pending or left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._tried.update(dict.fromkeys(self._probes))
        return ""

    def _best_leader(self, since_s: float, suspect: str) -> tuple[str, _Epoch] | None:
        newest: tuple[str, _Epoch] | None = None
        for name, probe in self._probes.items():
            facts = probe.facts
            if facts is None or probe.answered_s < since_s or facts.role != "leader":
                continue
            epoch = (facts.incarnation, facts.term)
            if suspect and (name == suspect or epoch <= self._epoch):
                continue
            if newest is None or epoch > newest[1]:
                newest = (name, epoch)
        return newest

    def _raise_denial(self) -> None:
        """Say that the masters refuse us, if that is why none of them leads."""
        with self._changed:
            errors = [probe.error for probe in self._probes.values() if probe.error is not None]
        for error in errors:
            if isinstance(error, Denied):
                raise type(error)(error.message, **{**error.details, "sent": 0})

    def _start_probes(self) -> None:
        with self._changed:
            self.connections.check_open()
            idle = [name for name, probe in self._probes.items() if not probe.running]
            for name in idle:
                self._probes[name].running = True
        for name in idle:
            self._runtime.spawn(f"probe {name}", partial(self._run_probe, name))

    def _start_probe(self, name: str) -> None:
        """Ask a master that was heard of while the others are being asked."""
        with self._changed:
            if self.connections.closed or self._probes[name].running:
                return
            self._probes[name].running = True
        self._runtime.spawn(f"probe {name}", partial(self._run_probe, name))

    def _run_probe(self, name: str) -> None:
        facts: MasterFacts | None = None
        failed: GfsError | None = None
        try:
            facts = ask_facts(self.connections, name)
            self._learn_members(facts)
        except GfsError as error:
            failed = error
        finally:
            with self._changed:
                probe = self._probes[name]
                probe.running = False
                probe.answered_s = self._runtime.monotonic_s()
                probe.facts, probe.error = facts, failed
                if facts is not None:
                    self._roster.hear(facts)
                self._changed.notify_all()

    def _learn_members(self, facts: MasterFacts) -> None:
        """Hear who the masters are now, and ask those that nobody named before.

        They are being asked before the answer that named them counts: who waits for all answers
        waits for theirs, too.
        """
        places = [(one.name, one.host, one.port) for one in facts.members]
        places.append((facts.leader, facts.leader_host, facts.leader_port))
        for place in places:
            if self.learn(*place):
                self._start_probe(place[0])
