"""A bench on which the stock library and ours run the same scenario, message by message.

Time is virtual, links are queues that the scenario empties by hand. `StockLab` drives SyncObj
0.3.17 with its FileJournal, `OurLab` drives RaftNode over the store's twin in memory.
"""

from __future__ import annotations

import itertools
import pickle
import random
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from gfs_ha.kv.ordered import MemoryKV, Table, Writer
from gfs_ha.master.raft.contract import Outcome, RaftConfig
from gfs_ha.master.raft.identity import Identity, bootstrap, join
from gfs_ha.master.raft.members import Change
from gfs_ha.master.raft.messages import AskVote, Vote, decode, encode
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.syncobj import use_clock
from gfs_ha.master.raft.transport import TransportUser
from gfs_ha.sim.guards import SimNode
from gfs_ha.sim.runtime import SimRuntime
from gfs_ha.sim.scheduler import Scheduler

PERIOD_S, TIMEOUT_MIN_S, TIMEOUT_MAX_S = 0.1, 1.0, 2.0
APPLIED, FAILED = "applied", "failed"


class Lab:
    """What both benches can do."""

    kind = ""

    def __init__(self, ids: Iterable[str], directory: Path) -> None:
        self.ids = list(ids)
        self.directory = directory
        self.scheduler = Scheduler()
        self.chance = random.Random(1)
        self.wire: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        self.open: set[tuple[str, str]] = set()
        self.nodes: dict[str, Any] = {}
        self.results: dict[str, list[str]] = defaultdict(list)  # By value, in order.
        self.raised: dict[str, int] = defaultdict(int)  # Ticks that raised, by member.
        for name in self.ids:
            self.nodes[name] = self._make(name)
        for first, second in itertools.combinations(self.ids, 2):
            self.heal(first, second)

    # To be provided.

    def _make(self, name: str) -> Any:
        raise NotImplementedError

    def _connected(self, name: str, peer: str, up: bool) -> None:
        raise NotImplementedError

    def _receive(self, name: str, peer: str, message: Any) -> None:
        raise NotImplementedError

    def _tick(self, name: str) -> None:
        raise NotImplementedError

    def _internal(self, name: str) -> Any:
        raise NotImplementedError

    def propose(self, name: str, value: str) -> None:
        raise NotImplementedError

    def read(self, name: str) -> list[list[str]]:
        """Ask for a read; the list gets the applied values once the answer is there."""
        raise NotImplementedError

    def applied(self, name: str) -> list[str]:
        raise NotImplementedError

    def is_vote(self, message: Any) -> bool:
        raise NotImplementedError

    def ask_vote(self, term: int) -> Any:
        """Return a request for a vote by a candidate with a long log."""
        raise NotImplementedError

    def power_cut(self, name: str) -> None:
        """Restart a member on what was durable."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the members hold open."""

    # The wire.

    def send(self, source: str, target: str, message: Any) -> bool:
        if (source, target) not in self.open:
            return False
        self.wire[source, target].append(message)
        return True

    def cut(self, first: str, second: str) -> None:
        for source, target in ((first, second), (second, first)):
            self.wire[source, target].clear()
            if (source, target) in self.open:
                self.open.discard((source, target))
                if source in self.nodes:
                    self._connected(source, target, False)

    def heal(self, first: str, second: str) -> None:
        for source, target in ((first, second), (second, first)):
            if source in self.nodes and target in self.nodes and (source, target) not in self.open:
                self.open.add((source, target))
                self._connected(source, target, True)

    def isolate(self, name: str) -> None:
        for other in self.ids:
            if other != name:
                self.cut(name, other)

    def rejoin(self, name: str) -> None:
        for other in self.ids:
            if other != name:
                self.heal(name, other)

    def kill(self, name: str) -> None:
        self.isolate(name)
        del self.nodes[name]

    def take(self, source: str, target: str) -> list[Any]:
        """Take what is on its way off the wire."""
        taken = list(self.wire[source, target])
        self.wire[source, target].clear()
        return taken

    def give(self, source: str, target: str, messages: Iterable[Any]) -> None:
        """Have a member receive messages, whenever they were sent."""
        for message in messages:
            self._receive(target, source, message)

    def deliver(self, source: str, target: str) -> None:
        self.give(source, target, self.take(source, target))

    # Time.

    @property
    def now_s(self) -> float:
        return self.scheduler.now_s

    def pass_time(self, seconds: float) -> None:
        self.scheduler.now_s += seconds

    def tick(self, name: str) -> None:
        self._tick(name)

    def run(self, seconds: float, only: Iterable[str] | None = None, step_s: float = 0.02) -> None:
        """Deliver everything and tick the members, all or `only` some, for a while."""
        names = list(self.ids if only is None else only)
        for _ in range(round(seconds / step_s)):
            self.pass_time(step_s)
            for source, target in itertools.permutations(names, 2):
                if target in self.nodes:
                    self.deliver(source, target)
            for name in names:
                if name in self.nodes:
                    self.tick(name)

    # Elections.

    def leads(self, name: str) -> bool:
        return name in self.nodes and bool(self._internal(name)._isLeader())

    def leaders(self) -> list[str]:
        return [name for name in self.ids if self.leads(name)]

    def term(self, name: str) -> int:
        return int(self._internal(name).raftCurrentTerm)

    def log(self, name: str) -> list[tuple[int, int]]:
        journal = self._internal(name)._SyncObj__raftLog
        return [journal[i][1:] for i in range(len(journal))]

    def elect(self, name: str, only: Iterable[str] | None = None, settle_s: float = 0.4) -> None:
        """Make a member the leader by the election of its library."""
        names = list(self.ids if only is None else only)
        self.pass_time(2 * TIMEOUT_MAX_S)  # Nobody relies on an older leader any more.
        for attempt in range(40):
            for other in names if attempt % 10 == 0 else ():
                deadline_s = 0.0 if other == name else 1e9
                self._internal(other)._SyncObj__raftElectionDeadline = deadline_s
            self.run(0.02, names)
            if self.leads(name):
                self.run(settle_s, names)
                return
        raise AssertionError(f"{name} is not elected")

    def outcome(self, value: str) -> str | None:
        """Return how the newest proposal of a value ended; None while it did not."""
        return self.results[value][-1] if self.results[value] else None


class _Replicated(SyncObj):
    """Stock: a replicated list."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.values: list[str] = []
        super().__init__(*arguments, **options)
        self._SyncObj__properies.discard("values")

    @replicated
    def append(self, value: str) -> int:
        if value.startswith("poison"):
            raise ValueError(value)
        self.values.append(value)
        return len(self.values)


class _StockTransport(Transport):
    ready = True

    def __init__(self, lab: StockLab, name: str) -> None:
        super().__init__(None, None, [])
        self._lab, self._name = lab, name

    def send(self, node: Node, message: Any) -> bool:
        return self._lab.send(self._name, node.id, pickle.dumps(message))


class StockLab(Lab):
    kind = "stock"

    def __init__(self, ids: Iterable[str], directory: Path) -> None:
        self.journals: list[Any] = []
        super().__init__(ids, directory)

    def _make(self, name: str) -> _Replicated:
        home = self.directory / name
        if not home.exists():
            home.mkdir()
        use_clock(self.clock)
        member = _Replicated(
            Node(name),
            [Node(other) for other in self.ids if other != name],
            SyncObjConf(
                autoTick=False,
                journalFile=str(home / "journal"),
                raftMinTimeout=TIMEOUT_MIN_S,
                raftMaxTimeout=TIMEOUT_MAX_S,
                appendEntriesPeriod=PERIOD_S,
                logCompactionMinEntries=50,
                logCompactionBatchSize=64,
                useFork=False,
            ),
            transport=_StockTransport(self, name),
        )
        self.journals.append(member._SyncObj__raftLog)
        if not (self.directory / f"{name}.synced").exists():
            # Generously: what it wrote before it said anything to anybody is durable. It never
            # calls fsync or msync afterwards, so a power cut brings just this back.
            shutil.copytree(home, self.directory / f"{name}.synced")
        return member

    def close(self) -> None:
        for journal in self.journals:
            journal._destroy()

    def clock(self) -> float:
        self.scheduler.now_s += 2e-6  # Its loops wait for the clock to move.
        return self.scheduler.now_s

    def _internal(self, name: str) -> Any:
        return self.nodes[name]

    def _connected(self, name: str, peer: str, up: bool) -> None:
        if name in self.nodes:
            transport = self.nodes[name]._SyncObj__transport
            (transport._onNodeConnected if up else transport._onNodeDisconnected)(Node(peer))

    def _receive(self, name: str, peer: str, message: Any) -> None:
        use_clock(self.clock)
        self.nodes[name]._SyncObj__transport._onMessageReceived(Node(peer), pickle.loads(message))

    def _tick(self, name: str) -> None:
        use_clock(self.clock)
        try:
            self.nodes[name].doTick(0.0)
        except Exception:  # What its autoTick thread does: log and go on.
            self.raised[name] += 1

    def propose(self, name: str, value: str) -> None:
        def done(result: Any, error: int) -> None:
            self.results[value].append(APPLIED if error == FAIL_REASON.SUCCESS else FAILED)
            if value.startswith("angry"):
                raise RuntimeError("the client hung up")

        self.nodes[name].append(value, callback=done)

    def read(self, name: str) -> list[list[str]]:
        # All that it offers: trust that one leads, and look.
        return [list(self.nodes[name].values)] if self.leads(name) else []

    def applied(self, name: str) -> list[str]:
        return list(self.nodes[name].values)

    def is_vote(self, message: Any) -> bool:
        return bool(pickle.loads(message)["type"] == "response_vote")

    def ask_vote(self, term: int) -> Any:
        ask = {
            "type": "request_vote",
            "term": term,
            "last_log_index": 99,
            "last_log_term": term - 1,
        }
        return pickle.dumps(ask)

    def power_cut(self, name: str) -> None:
        self.kill(name)
        shutil.rmtree(self.directory / name)
        shutil.copytree(self.directory / f"{name}.synced", self.directory / name)
        self.nodes[name] = self._make(name)
        self.rejoin(name)


class _Machine:
    """Ours: a replicated list, in the transaction of the tick."""

    TABLE = Table("state", "state")

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        if payload.startswith(b"poison"):
            raise ValueError(payload)
        writer.put(self.TABLE, index.to_bytes(8, "big"), payload)
        return payload


class _OurTransport:
    def __init__(self, lab: OurLab, name: str) -> None:
        self._lab, self._name = lab, name
        self.user: TransportUser | None = None

    def start(self, user: TransportUser, identity: Identity) -> None:
        self.user = user

    def set_peers(self, peers: dict[str, tuple[str, int]]) -> None: ...

    def send(self, peer: str, frame: bytes) -> bool:
        return self._lab.send(self._name, peer, frame)

    def flush(self) -> None: ...

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None: ...

    def pending_bytes(self, peer: str) -> int:
        return 0

    def committed(self) -> None: ...

    def refusal(self, peer: str) -> str:
        return ""

    def refused_count(self) -> int:
        return 0

    def ended(self, peer: str) -> bool:
        return False

    def introduced(self) -> bool:
        return True

    def wake(self) -> None: ...

    def close(self) -> None: ...


class OurLab(Lab):
    kind = "ours"
    log_bytes_max = 1 << 20
    log_room_bytes = 0
    node_type: type[RaftNode] = SimNode
    spares = ""  # Those of the members that wait on an empty disk to be let in.

    def __init__(self, ids: Iterable[str], directory: Path) -> None:
        self.disks: dict[str, MemoryKV] = {}
        self.transports: dict[str, _OurTransport] = {}
        super().__init__(ids, directory)

    def _make(self, name: str) -> RaftNode:
        config = RaftConfig(
            cluster_id="lab",
            incarnation=1,
            member_id=name,
            members={e: (e, 1) for e in self.ids if e == name or e not in self.spares},
            period_s=PERIOD_S,
            timeout_min_s=TIMEOUT_MIN_S,
            timeout_max_s=TIMEOUT_MAX_S,
            log_bytes_max=self.log_bytes_max,
            log_room_bytes=self.log_room_bytes,
            state_databases=("state",),
        )
        if name not in self.disks:
            self.disks[name] = MemoryKV()
            (join if name in self.spares else bootstrap)(self.disks[name], config)
        runtime = SimRuntime(self.scheduler, self.chance)
        self.transports[name] = _OurTransport(self, name)
        return self.node_type(config, self.disks[name], _Machine(), self.transports[name], runtime)

    def _internal(self, name: str) -> Any:
        return self.nodes[name].replica

    def _connected(self, name: str, peer: str, up: bool) -> None:
        user = self.transports[name].user
        if name in self.nodes and user is not None:
            use_clock(self.nodes[name].now_s)
            (user.peer_up if up else user.peer_down)(peer)

    def _receive(self, name: str, peer: str, message: Any) -> None:
        use_clock(self.nodes[name].now_s)
        self.nodes[name].received(peer, message)

    def _tick(self, name: str) -> None:
        try:
            self.nodes[name].step(0.0)
        except ValueError:  # Fatal: the process is gone.
            self.raised[name] += 1
            self.kill(name)

    def change(self, name: str, change: Change) -> list[Outcome]:
        """Ask a member for a change of the members; the list gets how that ended."""
        ended: list[Outcome] = []
        self.nodes[name].change_members(change, 5.0, ended.append)
        return ended

    def voters(self, name: str) -> str:
        return "".join(sorted(self.nodes[name].replica.configuration.voters))

    def propose(self, name: str, value: str) -> None:
        def done(outcome: Any) -> None:
            self.results[value].append(APPLIED if outcome.error is None else FAILED)
            if value.startswith("angry"):
                raise RuntimeError("the client hung up")

        self.nodes[name].propose(value.encode(), 5.0, done)

    def read(self, name: str) -> list[list[str]]:
        seen: list[list[str]] = []

        def done(error: Any) -> None:
            if error is None:
                seen.append(self.applied(name))

        self.nodes[name].read_index(5.0, done)
        return seen

    def applied(self, name: str) -> list[str]:
        with self.disks[name].read() as reader:
            return [value.decode() for _, value in reader.scan(_Machine.TABLE)]

    def is_vote(self, message: Any) -> bool:
        return isinstance(decode(message), Vote)

    def ask_vote(self, term: int) -> Any:
        return encode(AskVote(term, 99, term - 1))

    def power_cut(self, name: str) -> None:
        self.kill(name)
        self.disks[name] = self.disks[name].crash()
        self.nodes[name] = self._make(name)
        self.rejoin(name)
