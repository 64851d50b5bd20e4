"""One run: a stage of hosts and masters, clients at work, the faults in their turn, the verdict."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from chaos import kernel, record, schedule, stores, verdict
from chaos.absences import Absences
from chaos.clients import FILLER, Clients
from chaos.faults import Faults, Mend, Stand
from chaos.lan import Lan
from chaos.masters import Broken, Masters, Place, search_path
from chaos.operator import Operator
from chaos.outcome import Outcome, counted
from chaos.schedule import Planned
from chaos.small_disk import SmallDisk
from chaos.verdict import Trouble, Verdict
from chaos.wall_clock import WallClocks

MASTERS = ("m1", "m2", "m3")
SPARES = tuple(f"m{number}" for number in range(4, 22))  # They take the places of others.
# One client is patient; one gives up soon, and must say rightly what became of it; one looks all
# the time and at any master, to catch one that serves what is no longer so; one takes old answers.
HABITS: dict[str, dict[str, Any]] = {
    "c1": {"timeout_s": 10.0},
    "c2": {"timeout_s": 0.8},
    "c3": {"timeout_s": 3.0, "read_share": 0.95, "pause_s": 0.006, "consistency": "bounded:0"},
    "c4": {
        "timeout_s": 3.0,
        "read_share": 0.97,
        "pause_s": 0.02,
        "consistency": "bounded:100 bounded:500 bounded:2500",
    },
}
# One never ends its session nor reads its configuration again: it has to learn of new masters.
LASTING_HOST = "c5"
LASTING: dict[str, Any] = {"timeout_s": 10.0, "session_s": 1e9, "threads": 1, "pause_s": 0.03}
FILLER_HOST = "c6"
_APART = (LASTING_HOST, FILLER_HOST)
CLIENT_HOSTS = tuple(HABITS)
_LOG_BYTES = 256 << 10  # The least that may be kept for a master that is away.
_FILL_BYTES = 12 << 20
_FILL_S = 60.0
_SMALL_DISK_BYTES = 192 << 20
_CLOCK_RATES = (-0.03, -0.01, 0.0, 0.01, 0.03)  # As in the simulation: far worse than any quartz.
_LOOK_S = 0.02
_SETTLE_S = 90.0
_LEARNED_S = 10.0  # Before the end: when the last of the first masters is gone.
_READ_S = 90.0
_GFSCTL = "import sys; from gfs_ha.cli.main import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be run."""

    seed: int
    seconds: float
    kinds: Sequence[str] = schedule.KINDS
    log: bool = False  # Say every fault as it comes.


class Run:
    """Use it with `with`; leaving it ends and removes everything but the directory."""

    def __init__(self, directory: Path, wish: Wish) -> None:
        self._directory = directory
        self._wish = wish
        self._stack = ExitStack()
        self._wrong: list[str] = []
        self._kills_s: list[float] = []  # Of leaders, by SIGKILL.
        self._handovers_s: list[float] = []  # Leaders, by SIGTERM.
        self._troubles: list[Trouble] = []
        self._remarks: list[str] = []
        self._faster: dict[str, float] = {}
        self._events = (directory / "events").open("w", encoding="utf-8")
        self._stack.callback(self._events.close)
        try:
            self._stand = self._set_up()
        except BaseException:
            self._stack.close()
            raise
        self._faults = Faults(self._stand)
        self._lasting = ""  # The client that began before any master was replaced.
        self._orphan_s: float | None = None  # Since when none of the first masters is left.
        self._ended_s = 0.0

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> Verdict:
        """Do all of it and return what it has shown. Raises: Broken."""
        if schedule.SNAPSHOT in self._wish.kinds:
            self._start_filler()
        began_s = time.monotonic()
        self._lasting = self._start_apart(LASTING_HOST, **LASTING)
        for host in CLIENT_HOSTS:
            self._stand.start_client(host)
        self._play(schedule.plan(self._wish.seed, self._wish.seconds, self._wish.kinds))
        seconds = time.monotonic() - began_s
        self._ended_s = time.monotonic()
        self._wrong += self._stand.clients.finish()
        self._settle()
        self._read_everything()
        self._check_stores()
        return self._conclude(seconds)

    def _set_up(self) -> Stand:
        enter = self._stack.enter_context
        lan = enter(Lan((*MASTERS, *SPARES, *CLIENT_HOSTS, *_APART), self._wish.seed))
        clocks = WallClocks(self._directory)
        if clocks.why_not:
            self._remarks.append(f"no clocks of their own: {clocks.why_not}")
        disk, disk_of = None, ""
        if schedule.FULL_DISK in self._wish.kinds:
            disk_of = MASTERS[self._wish.seed % len(MASTERS)]
            try:
                disk = SmallDisk(self._directory / disk_of / "disk", _SMALL_DISK_BYTES)
                self._stack.callback(disk.close)
            except OSError as error:
                self._remarks.append(f"no full disk: {error}")
        log_bytes = _LOG_BYTES if schedule.SNAPSHOT in self._wish.kinds else 0
        places = {}
        chance = random.Random(f"clocks {self._wish.seed}")
        for name in (*MASTERS, *SPARES):
            host = lan.hosts[name]
            self._faster[name] = chance.choice(_CLOCK_RATES)
            environment = clocks.environment(name, self._faster[name])
            here = Place(name, self._directory / name, host.address, host.enter, environment)
            here.log_bytes = log_bytes
            if disk is not None and name == disk_of:
                here.data = "disk/data"
                here.enter = _both(host.enter, disk.enter)
            places[name] = here
        config = self._directory / "client.toml"
        spares = [places.pop(name) for name in SPARES]
        masters = enter(Masters(places, config, f"chaos-{self._wish.seed}"))
        masters.bootstrap()
        operator = Operator(masters, partial(_gfsctl, lan, config), spares)
        self._stack.callback(operator.close)
        absences = Absences(lan, masters, self._counter, log_bytes)
        self._stack.callback(absences.close)
        clients = enter(Clients(self._directory, config, self._wish.seed))
        hosts = (*CLIENT_HOSTS, *_APART)
        return Stand(
            lan, masters, clients, clocks, HABITS, operator, absences, disk, disk_of, hosts
        )

    @property
    def _counter(self) -> Path:
        return self._directory / "filler.bytes"

    def _start_apart(self, host: str, **habits: Any) -> str:
        """Start a client that no fault kills."""
        return self._stand.clients.start(host, self._stand.lan.hosts[host].enter, **habits)

    def _start_filler(self) -> None:
        """Have the log grow, over tables that take a while to send. Raises: Broken."""
        facts: dict[str, Any] = {"counter": str(self._counter), "fill_bytes": _FILL_BYTES}
        self._start_apart(FILLER_HOST, program=FILLER, **facts)
        deadline_s = time.monotonic() + _FILL_S
        while not self._counter.exists():
            if time.monotonic() > deadline_s:
                raise Broken(f"the tables are not filled within {_FILL_S:.0f} s")
            time.sleep(_LOOK_S)

    # While it runs ------------------------------------------------------------------------------

    def _play(self, planned: Sequence[Planned]) -> None:
        began_s = time.monotonic()
        numbers = itertools.count()
        waiting: list[tuple[float, int, Planned | Mend]] = [
            (one.at_s, next(numbers), one) for one in planned
        ]
        heapq.heapify(waiting)
        while waiting or time.monotonic() - began_s < self._wish.seconds:
            now_s = time.monotonic() - began_s
            while waiting and waiting[0][0] <= now_s:
                _, _, event = heapq.heappop(waiting)
                if not isinstance(event, Planned):
                    event()
                    continue
                mend = self._begin(event)
                if mend is not None:
                    # Counted from now: some faults take a moment to begin.
                    until_s = time.monotonic() - began_s + event.lasts_s
                    heapq.heappush(waiting, (until_s, next(numbers), mend))
            self._look()
            time.sleep(_LOOK_S)

    def _begin(self, planned: Planned) -> Mend | None:
        if planned.kind == schedule.CLOCK and self._stand.clocks.why_not:
            return None
        began_s = time.monotonic()
        leader = self._stand.masters.leader()
        mend = self._faults.begin(planned)
        met = self._faults.note
        text = f"{planned} meets {met or 'nobody'}" + (" (leader)" if met == leader else "")
        self._say(text)
        if met == leader and planned.kind == schedule.KILL:
            self._kills_s.append(began_s)
        elif met == leader and planned.kind == schedule.RESTART:
            self._handovers_s.append(began_s)
        if mend is None or planned.kind == schedule.CLIENT_KILL:
            return mend
        return partial(self._end, planned, mend, Trouble(met, began_s, began_s))

    def _end(self, planned: Planned, mend: Mend, trouble: Trouble) -> None:
        mend()
        everyone = planned.kind == schedule.FULL_DISK
        self._troubles.append(replace(trouble, end_s=time.monotonic(), everyone=everyone))
        self._say(f"{planned.kind} ends for {trouble.name}")

    def _look(self) -> None:
        """Find masters that ended although nobody ended them."""
        self._stand.operator.look()
        if happened := self._stand.absences.look():
            self._say(happened)
        if self._orphan_s is None and not set(MASTERS) & set(self._stand.masters.all):
            self._orphan_s = time.monotonic()
            self._say("none of the first masters is left")
        for master in list(self._stand.masters.all.values()):
            if not master.ended_by_itself:
                continue
            if self._faults.may_end_full(master.name) and master.ended_full():
                self._faults.done["ended by a full disk"] += 1
            else:
                self._wrong.append(f"{master.name} ended by itself, {master.last_words()}")
            self._say(f"{master.name} ended by itself, {master.last_words()}")
            # As a supervisor does; a disk that still is full may end it again.
            master.start()

    def _say(self, text: str) -> None:
        line = f"{time.monotonic():.3f} {text}"
        print(line, file=self._events, flush=True)
        if self._wish.log:
            print(line, flush=True)

    # After it -----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait until all masters have equal states, each counted anew."""
        deadline_s = time.monotonic() + _SETTLE_S
        while True:
            self._look()
            busy = self._stand.operator.busy or self._stand.absences.busy
            if busy and time.monotonic() <= deadline_s:
                time.sleep(_LOOK_S)
                continue
            done = self._ask("admin", "masters", "verify-state", "--deep")
            if done.returncode == 0:
                return
            if done.returncode == 8 or time.monotonic() > deadline_s:
                said = (done.stdout + done.stderr).strip()[-400:]
                self._wrong.append(f"the states do not become equal: {said}")
                return
            time.sleep(0.2)

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = _gfsctl(self._stand.lan, self._stand.masters.config, *words)
        with process:
            try:
                output, errors = process.communicate(timeout=120)
            finally:
                process.kill()
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def _read_everything(self) -> None:
        seen = record.read(self._stand.clients.records)
        names = sorted(
            {name for one in seen.history.operations for name in (one.name, one.target) if name}
        )
        host = self._stand.lan.hosts[CLIENT_HOSTS[0]]
        for start in range(0, len(names), 1000):
            self._stand.clients.start(host.name, host.enter, read=names[start : start + 1000])
            self._wrong += self._stand.clients.wait(_READ_S)

    def _check_stores(self) -> None:
        """Stop all masters and look into what they leave behind."""
        found = {}
        for name, master in self._stand.masters.all.items():
            if not master.end(signal.SIGTERM):
                self._wrong.append(f"{name} did not end within 20 s of SIGTERM")
            disk = self._stand.disk
            own = disk is not None and name == self._stand.disk_of
            home = disk.outside if disk is not None and own else self._directory / name
            found[name] = stores.look(home / "data")
        self._wrong += stores.compare(found)

    def _since(self, seen: record.Record) -> int | None:
        """Return how often the lasting client was answered since the first masters are gone.

        None when one of them is left, or the last went just now.
        """
        gone_s = self._orphan_s
        if gone_s is None or gone_s > self._ended_s - _LEARNED_S:
            return None
        mine = [one for one in seen.history.operations if one.client == self._lasting]
        return sum(one.returned_s is not None and one.returned_s > gone_s for one in mine)

    def _conclude(self, seconds: float) -> Verdict:
        seen = record.read(self._stand.clients.records)
        outcome = Outcome(
            self._stand.operator, self._stand.absences, self._stand.masters, self._since(seen)
        )
        self._wrong += seen.undue + outcome.missed()
        found, judged, undecided = verdict.check_history(seen)
        masters = self._stand.masters
        for name, master in masters.read_logs().items():
            found += [f"log of {name}: {line}" for line in master.log.wrong]
        violations = self._wrong + self._faults.unclean + self._stand.operator.wrong + found
        violations += [f"odd answer: {one}" for one in seen.odd]
        disk = self._stand.disk
        troubles = self._troubles + self._stand.absences.troubles + self._stand.operator.troubles
        silence_ms = verdict.longest_silence_ms(seen.acknowledged_s, troubles)
        figures = [
            ("seed", f"{self._wish.seed}, {seconds:.0f} s"),
            ("faults", counted(self._faults.done)),
            ("clocks", ", ".join(f"{name} {one:+.0%}" for name, one in self._faster.items())),
            *outcome.figures(),
            ("elections", str(len(masters.terms()) - 1)),
            *verdict.describe(seen, seconds),
            ("histories judged", f"{judged} groups of names, {undecided} not decided"),
            ("gaps, leader killed", _gaps(seen, self._kills_s)),
            ("gaps, leader restarted", _gaps(seen, self._handovers_s)),
            ("longest silence", f"{silence_ms:.0f} ms while at most one master had a fault"),
        ]
        if disk is not None:
            figures.append(("small disk", f"{self._stand.disk_of}, {disk.kind}"))
        figures += [("remark", one) for one in self._remarks]
        return Verdict(figures, violations)


def _gfsctl(lan: Lan, config: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command on the first client's host."""
    parent = os.getpid()

    def prepare() -> None:
        lan.hosts[CLIENT_HOSTS[0]].enter()
        kernel.end_with_parent(parent)

    return subprocess.Popen(
        [sys.executable, "-c", _GFSCTL, "--config", str(config), *words],
        env={**os.environ, "PYTHONPATH": search_path()},
        preexec_fn=prepare,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _gaps(seen: record.Record, moments_s: Sequence[float]) -> str:
    return verdict.percentiles(verdict.gaps_ms(seen.acknowledged_s, moments_s))


def _both(first: Mend, second: Mend) -> Mend:
    def enter() -> None:
        first()
        second()

    return enter
