"""Many writers append to one file while servers, leaders and writers are killed: each record once.

    python benchmarks/append_kills.py [--seconds 60] [--appenders 16] [--size 4096] [--records N]
                                      [--depth 16] [--seed 1] [--keep]

Chunkservers are killed and frozen, masters killed, leases revoked; writers with an id are killed
and started again with the same input. A follower (`gfsctl tail -f`) goes through all of it. At the
end a reader that knows nothing of the writers looks at the file. Then a writer with an id is killed
and started again over and over, a log is renamed under its writers, and two masters are lost for
good under living appenders. Exit
status 1 when a record is missing, doubled, torn, out of order or not where its writer was told, or
a writer met an error.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from append_phases import recovered, rotated, twice
from append_records import Seen, compare, look, record
from stage import GFSCTL, Failed, Interrupted, Stage

import gfs_ha
from gfs_ha.errors import GfsError

LOG = "/log"
KEYED = 2  # Writers with an id, which are killed.
KEYED_FIRST = 1000  # Their numbers.
KEYED_PER_S = 400  # Records of each, by the seconds of the run.
CHUNKSERVERS = 6
DOWN_MAX = 2  # Chunkservers at once: a chunk has three replicas.
END_S = 180.0
WIDENED_S = 0.4  # Well below the time after which a silent server is left.


@dataclass
class Counts:
    """What was done to the cluster."""

    faults: dict[str, int] = field(default_factory=dict)

    def note(self, what: str) -> None:
        self.faults[what] = self.faults.get(what, 0) + 1

    def __str__(self) -> str:
        return ", ".join(f"{what} {count}" for what, count in sorted(self.faults.items()))


class Keyed:
    """A `gfsctl append --stdin-lines --id` of a fixed input, run until it ends well."""

    def __init__(self, stage: Stage, number: int, options: argparse.Namespace) -> None:
        self._stage = stage
        self.count = int(options.seconds * KEYED_PER_S)
        self._source = stage.directory / f"source{number}"
        lines = (record(number, at, options.size) for at in range(self.count))
        self._source.write_bytes(b"".join(lines))
        self.number = number
        self.runs = 0
        self._child: subprocess.Popen[bytes] | None = None

    def go_on(self, patience_s: float = 0.0) -> bool:
        """Return whether it is done; start it again if it was killed. Raises: Failed."""
        child = self._child
        if child is not None:
            try:
                child.wait(patience_s)
            except subprocess.TimeoutExpired:
                return False
        if child is not None and child.poll() == 0:
            return True
        if child is not None and child.poll() is not None and child.returncode != -signal.SIGKILL:
            told = (self._stage.directory / f"keyed{self.number}.err").read_text()
            raise Failed(f"writer {self.number}: exit {child.returncode}: {told[-500:]}")
        if child is None or child.poll() is not None:
            self.runs += 1
            words = ("append", "--stdin-lines", "--id", f"keyed {self.number}", LOG)
            errors = self._stage.directory / f"keyed{self.number}.err"
            with self._source.open("rb") as source, errors.open("ab") as told:
                self._child = subprocess.Popen(
                    [str(GFSCTL), *words],
                    env=self._stage.environment,
                    stdin=source,
                    stdout=subprocess.DEVNULL,
                    stderr=told,
                )
        return False

    def kill(self) -> bool:
        """End it at once; return whether it ran."""
        if self._child is None or self._child.poll() is not None:
            return False
        self._child.kill()
        self._child.wait(10)
        return True


class Faults:
    """Kills, one after the other; what is down comes back after a few seconds."""

    def __init__(self, stage: Stage, keyed: Sequence[Keyed], seed: int) -> None:
        self._cluster = stage.cluster
        self._client = gfs_ha.connect(stage.cluster.config_path, timeout_s=20.0)
        self._keyed = keyed
        self._chance = random.Random(seed)
        self._down: dict[str, float] = {}  # When each comes back.
        self.counts = Counts()

    def step(self) -> None:
        """Bring back what is due, and do one more thing."""
        now_s = time.monotonic()
        for name, due_s in list(self._down.items()):
            if due_s <= now_s:
                try:
                    self._raise(name)
                except GfsError as error:
                    # On a busy machine another process may have taken its port for a moment.
                    print(f"{'':10}{name} did not start: {error.message}", flush=True)
                    self._down[name] = now_s + 1.0
        kind = self._chance.choice(
            (
                *(self._kill_primary, self._kill_server, self._freeze, self._kill_leader),
                *(self._kill_master, self._revoke, self._kill_before_the_chain),
            )
        )
        if self._chance.random() < 0.3:
            self._kill_writer()
        try:
            kind()
        except GfsError as error:
            print(f"{'':10}{kind.__name__}: {error.message}", flush=True)

    def end(self) -> None:
        until_s = time.monotonic() + END_S
        while self._down:
            for name in list(self._down):
                try:
                    self._raise(name)
                except GfsError:
                    if time.monotonic() > until_s:
                        raise
                    time.sleep(0.5)
        self._client.close()

    def _raise(self, name: str) -> None:
        status = next(one for one in self._cluster.status() if one.name == name)
        if status.state == "paused":
            self._cluster.kill(name, signal.SIGCONT)
        else:
            self._cluster.start(name)
        del self._down[name]

    def _take_down(self, name: str, number: signal.Signals, what: str) -> None:
        kind = name[0]
        most = DOWN_MAX if kind == "c" else 1
        if name in self._down or sum(one[0] == kind for one in self._down) >= most:
            return
        self._cluster.kill(name, number)
        self._down[name] = time.monotonic() + self._chance.uniform(2.0, 6.0)
        self.counts.note(what)

    def _servers(self) -> list[str]:
        return [one.name for one in self._cluster.status() if one.role != "master"]

    def _kill_primary(self) -> None:
        for row in self._client.operations.leases():
            if row.path == LOG:
                self._take_down(row.holder, signal.SIGKILL, "primaries killed")

    def _kill_before_the_chain(self) -> None:
        """Hold up the chain below a primary, then kill it: nothing may be acknowledged meanwhile.

        An answer that left before all replicas had the record is for one that is lost now.
        """
        if any(name[0] == "c" for name in self._down):
            return
        rows = {row.chunk_id: row for row in self._client.operations.chunks()}
        for lease in self._client.operations.leases():
            chunk = rows.get(lease.chunk_id)
            if lease.path != LOG or chunk is None:
                continue
            held = [one.name for one in chunk.replicas if one.name != lease.holder]
            for name in held:
                self._cluster.kill(name, signal.SIGSTOP)
            time.sleep(WIDENED_S)
            self._cluster.kill(lease.holder, signal.SIGKILL)
            for name in held:
                self._cluster.kill(name, signal.SIGCONT)
            self._down[lease.holder] = time.monotonic() + self._chance.uniform(2.0, 6.0)
            self.counts.note("primaries killed before the chain")
            return

    def _kill_server(self) -> None:
        name = self._chance.choice(self._servers())
        self._take_down(name, signal.SIGKILL, "chunkservers killed")

    def _freeze(self) -> None:
        name = self._chance.choice(self._servers())
        self._take_down(name, signal.SIGSTOP, "chunkservers frozen")

    def _kill_leader(self) -> None:
        leader = self._client.operations.status().leader
        self._take_down(leader, signal.SIGKILL, "leaders killed")

    def _kill_master(self) -> None:
        masters = [one.name for one in self._cluster.status() if one.role == "master"]
        self._take_down(self._chance.choice(masters), signal.SIGKILL, "masters killed")

    def _revoke(self) -> None:
        for row in self._client.operations.leases():
            if row.path == LOG:
                self._client.operations.revoke_lease(row.chunk_id, type(row.server_id)(0))
                self.counts.note("leases revoked")

    def _kill_writer(self) -> None:
        one = self._chance.choice(self._keyed)
        if one.kill():
            self.counts.note("writers killed")


class Writers:
    """The appenders without an id, a process each."""

    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self._logs = [stage.directory / f"writer{at}.log" for at in range(options.appenders)]
        facts = (str(options.size), str(options.depth), str(options.records))
        program = str(Path(__file__).with_name("append_writer.py"))
        config = str(stage.cluster.config_path)
        self._children = [
            subprocess.Popen(
                [sys.executable, program, config, LOG, str(at), *facts, str(log)],
                env=stage.environment,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for at, log in enumerate(self._logs)
        ]

    def running(self) -> bool:
        return any(child.poll() is None for child in self._children)

    def end(self) -> list[str]:
        """Have them end, and return what went wrong with them."""
        wrong = []
        for child in self._children:
            _, told = child.communicate(timeout=END_S)
            if child.returncode:
                wrong.append(told.decode(errors="replace").strip()[-500:])
        return wrong

    def kill(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait(10)

    def logs(self) -> list[Path]:
        return [log for log in self._logs if log.exists()]


def measure(stage: Stage, options: argparse.Namespace) -> int:
    """Run it all, judge it and print what a person wants to know."""
    stage.cluster.up(
        masters=3, chunkservers=CHUNKSERVERS, racks=("r1", "r2", "r3"), chunk_bytes=4 << 20
    )
    with gfs_ha.connect(stage.cluster.config_path) as cluster:
        cluster.write_bytes(LOG, b"")
    keyed = [Keyed(stage, KEYED_FIRST + at, options) for at in range(KEYED)]
    shown = stage.directory / "shown"
    with shown.open("wb") as file, (stage.directory / "shown.err").open("wb") as told:
        follower = subprocess.Popen(
            [str(GFSCTL), "-v", "tail", "-f", "-n", str(1 << 40), LOG],
            env=stage.environment,
            stdout=file,
            stderr=told,
        )
    writers = Writers(stage, options)
    faults = Faults(stage, keyed, options.seed)
    began_s = time.monotonic()
    try:
        done = _load(faults, keyed, writers, options.seconds)
        took_s = time.monotonic() - began_s
        wrong = writers.end()
        faults.end()
        for one in keyed:
            _await(lambda one=one: one.go_on(1.0), "a writer with an id")  # type: ignore[misc]
        copy = stage.directory / "copy"
        stage.run("get", LOG, str(copy))
        size = copy.stat().st_size
        _await(lambda: shown.stat().st_size >= size, "the follower")
        seen = look(copy)
        wrong += seen.wrong + compare(seen, writers.logs()) + _keyed_wrong(seen, keyed)
        if shown.read_bytes() != copy.read_bytes():
            wrong.append("the follower showed other bytes than the file has")
    finally:
        writers.kill()
        for one in keyed:
            one.kill()
        follower.send_signal(signal.SIGINT)
        follower.wait(30)
    _report(options, faults, writers, (seen, took_s, done))
    wrong += twice(stage, options) + rotated(stage, options)
    wrong += recovered(stage, options)
    print(f"{'restarts':24}{sum(one.runs - 1 for one in keyed)} of writers with an id")
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    print(
        "every record once, whole, in order, where its writer was told" if not wrong else "FAILED"
    )
    return 1 if wrong else 0


def _load(faults: Faults, keyed: Sequence[Keyed], writers: Writers, seconds: float) -> bool:
    """Let faults happen while the writers work; return whether they came to their end."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s and writers.running():
        time.sleep(random.uniform(0.5, 2.0))
        faults.step()
        for one in keyed:
            one.go_on()
    return not writers.running()


def _await(there: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + END_S
    while not there():
        if time.monotonic() > until_s:
            raise Failed(f"{what}: not at the end within {END_S:.0f} s")
        time.sleep(0.05)


def _keyed_wrong(seen: Seen, keyed: Sequence[Keyed]) -> list[str]:
    return [
        f"writer {one.number} with an id: {found} of {one.count} records"
        for one in keyed
        if (found := len(seen.order.get(one.number, ()))) != one.count
    ]


def _report(
    options: argparse.Namespace,
    faults: Faults,
    writers: Writers,
    outcome: tuple[Seen, float, bool],
) -> None:
    seen, took_s, _ = outcome
    waits = sorted(
        int(row.rsplit(" ", 1)[1]) / 1000 for log in writers.logs() for row in log.open()
    )
    rows = [
        ("faults", str(faults.counts)),
        ("records", f"{seen.count:,} of {options.size} bytes"),
        ("acknowledged", f"{len(waits):,} in {took_s:.1f} s, {len(waits) / took_s:,.0f}/s"),
    ]
    if waits:
        middle, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        rows.append(("latency", f"p50 {middle:.1f} ms, p99 {late:.0f} ms, max {waits[-1]:.0f} ms"))
    rows.append(("load average", " ".join(f"{one:.1f}" for one in os.getloadavg())))
    for name, text in rows:
        print(f"{name:24}{text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults happen")
    parser.add_argument("--appenders", type=int, default=16)
    parser.add_argument("--size", type=int, default=4096, help="bytes of a record, at least 64")
    parser.add_argument("--depth", type=int, default=16, help="records on their way of each")
    parser.add_argument("--records", type=int, default=0, help="of each; 0: until the time is up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the files behind")
    options = parser.parse_args()
    try:
        with Stage("append-kills", options.keep) as stage:
            return measure(stage, options)
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status


if __name__ == "__main__":
    sys.exit(main())
