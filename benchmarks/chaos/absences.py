"""Masters that are away until the log they lack is gone, and what meets the snapshot that follows.

One at a time: a follower is killed, stopped or cut off until more log was written than is kept; it
comes back, and when it begins to receive a snapshot something may happen to it or to the sender.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from chaos.lan import Fault, Lan
from chaos.masters import MasterProcess, Masters
from chaos.schedule import AWAY, DEEDS
from chaos.verdict import Trouble

Mend = Callable[[], None]
_AWAY_S_MAX = 30.0
_STUCK_S = 15.0  # Without any log: a second one is away as well.
_BACK_S_MAX = 85.0  # Other faults, and the state of the machine, may hold a snapshot up for long.
_NARROW_S = 20.0
_DEED_S = (0.3, 2.5)
_SLOW_BYTES_PER_S = 8e6  # Makes the transfer of a snapshot last seconds.


class Absences:
    """Plays them. Args: `counter` is the filler's; more than `log_bytes` of it is away too long."""

    def __init__(self, lan: Lan, masters: Masters, counter: Path, log_bytes: int) -> None:
        self.begun_count = 0
        self.came_back: Counter[str] = Counter()  # By a snapshot, by the log, or not at all.
        self.troubles: list[Trouble] = []  # Who was away or met, and when.
        self.met: Counter[str] = Counter()  # What happened in the middle of a transfer.
        self._lan = lan
        self._masters = masters
        self._counter = counter
        self._log_bytes = log_bytes
        self._victim: MasterProcess | None = None
        self._began_s = 0.0
        self._until_bytes = 0
        self._written, self._stuck_s = 0, 0.0  # Log so far; when it is too long without more.
        self._deadline_s = 0.0
        self._return: Mend | None = None  # What ends the absence.
        self._mends: list[tuple[float, Mend]] = []  # What ends a deed, and when.
        self._deed = ""
        self._deed_s = 0.0
        self._mark = (0, 0, 0)

    @property
    def busy(self) -> bool:
        return self._victim is not None or bool(self._mends)

    def begin(self, victim: MasterProcess, how: int, deed: int, chance: float) -> bool:
        """Send a master away; False while another one is away or there is no filler at work."""
        if self.busy or not self._bytes():
            return False
        self.begun_count += 1
        self._victim = victim
        self._began_s = time.monotonic()
        victim.log.read()
        self._until_bytes = self._bytes() + 3 * self._log_bytes
        self._deadline_s = time.monotonic() + _AWAY_S_MAX
        self._written, self._stuck_s = 0, float("inf")
        self._return = self._send_away(victim, AWAY[how % len(AWAY)])
        self._deed = DEEDS[deed % len(DEEDS)]
        self._deed_s = _DEED_S[0] + chance * (_DEED_S[1] - _DEED_S[0])
        return True

    def look(self) -> str:
        """Carry on with whoever is away; return what happened now, or nothing."""
        now_s = time.monotonic()
        for one in [one for one in self._mends if one[0] <= now_s]:
            self._mends.remove(one)
            one[1]()
        victim = self._victim
        if victim is None:
            return ""
        if victim.name not in self._masters.all:
            self._end("was taken out meanwhile")
            return f"{victim.name} was taken out while it was away"
        if self._return is not None:
            return self._look_away(victim, now_s)
        return self._look_back(victim, now_s)

    def close(self) -> None:
        """Forget what is under way: masters and network are about to go as well."""
        self._victim, self._return, self._mends = None, None, []

    def _look_away(self, victim: MasterProcess, now_s: float) -> str:
        written = self._bytes()
        if written != self._written:
            self._written, self._stuck_s = written, now_s + _STUCK_S
        enough = written >= self._until_bytes
        if not enough and now_s < min(self._deadline_s, self._stuck_s):
            return ""
        victim.log.read()
        log = victim.log
        self._mark = (len(log.senders), log.installed_count, log.outdated_count)
        if chosen := self._deed:
            # A narrow way makes the transfer long enough to be met; not always.
            ways = [(name, victim.name) for name in self._masters.all if name != victim.name]
            fault = Fault(bytes_per_s=_SLOW_BYTES_PER_S)
            self._mends.append((now_s + _NARROW_S, self._lan.break_ways(ways, fault)))
        assert self._return is not None
        back, self._return = self._return, None
        back()
        self._deadline_s = now_s + _BACK_S_MAX
        return f"{victim.name} comes back" + ("" if enough else " early") + f" ({chosen or 'calm'})"

    def _look_back(self, victim: MasterProcess, now_s: float) -> str:
        victim.log.read()
        log = victim.log
        began, installed, outdated = self._mark
        if log.installed_count > installed:
            self._end("by a snapshot" if log.outdated_count > outdated else "as a new one")
            return f"{victim.name} has installed a snapshot"
        if self._deed and len(log.senders) > began:
            deed, self._deed = self._deed, ""
            sender = self._masters.all.get(log.senders[-1])
            self._mends.append((now_s + self._deed_s, self._do(deed, victim, sender)))
            self.met[deed] += 1
            if sender is not None:
                self.troubles.append(Trouble(sender.name, now_s, now_s + self._deed_s))
            return f"{deed} in mid-snapshot from {log.senders[-1]} to {victim.name}"
        if now_s > self._deadline_s:
            late = "outdated" if log.outdated_count > outdated else "by the log"
            self._end(late)
            return f"{victim.name} came back {late}"
        return ""

    def _end(self, how: str) -> None:
        self.came_back[how] += 1
        if self._victim is not None:
            self.troubles.append(Trouble(self._victim.name, self._began_s, time.monotonic()))
        if self._return is not None:
            self._return()
        self._victim, self._return = None, None
        now_s = time.monotonic()
        self._mends = [(min(due_s, now_s + self._deed_s), mend) for due_s, mend in self._mends]

    def _send_away(self, victim: MasterProcess, how: str) -> Mend:
        if how == "killed":
            victim.end(signal.SIGKILL)
            return lambda: self._start(victim)
        if how == "stopped":
            return _stop(victim)
        # Clients still reach it, and are to be told how old its answers are.
        names = [name for name in self._masters.all if name != victim.name]
        ways = [(victim.name, name) for name in names] + [(name, victim.name) for name in names]
        return self._lan.break_ways(ways, Fault(cut=True))

    def _do(self, deed: str, victim: MasterProcess, sender: MasterProcess | None) -> Mend:
        whom = victim if deed.endswith("receiver") else sender
        if deed.startswith("cut") and sender is not None:
            way = (sender.name, victim.name)
            return self._lan.break_way(
                *(way if deed == "cut to receiver" else way[::-1]), Fault(cut=True)
            )
        if whom is None or not whom.running:
            return _nothing
        if deed.startswith("kill"):
            whom.end(signal.SIGKILL)
            return lambda: self._start(whom)
        return _stop(whom)

    def _start(self, master: MasterProcess) -> None:
        if not master.running and master.name in self._masters.all:
            master.start()

    def _bytes(self) -> int:
        try:
            return int(self._counter.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0


def _stop(master: MasterProcess) -> Mend:
    master.paused = True
    master.signal(signal.SIGSTOP)

    def wake() -> None:
        master.paused = False
        master.signal(signal.SIGCONT)

    return wake


def _nothing() -> None:
    pass
