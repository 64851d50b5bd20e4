"""The faults themselves: what each kind does to processes, links, disks and clocks, and its end."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos import schedule
from chaos.absences import Absences
from chaos.clients import Clients
from chaos.lan import Fault, Lan
from chaos.masters import MasterProcess, Masters
from chaos.operator import Operator
from chaos.schedule import Planned
from chaos.small_disk import SmallDisk
from chaos.wall_clock import WallClocks

Mend = Callable[[], None]
_FULL_ECHO_S = 5.0  # A commit that failed is told by the end of the process, some time later.

_FAULTS = {
    schedule.ISOLATE: lambda amount: Fault(cut=True),
    schedule.LEAVE: lambda amount: Fault(cut=True),
    schedule.SPLIT: lambda amount: Fault(cut=True),
    schedule.ONE_WAY: lambda amount: Fault(cut=True),
    schedule.SLOW: lambda amount: Fault(delay_ms=amount, jitter_ms=amount / 2),
    schedule.LOSSY: lambda amount: Fault(loss=amount),
    schedule.NARROW: lambda amount: Fault(bytes_per_s=amount),
}


@dataclass
class Stand:
    """What there is to break."""

    lan: Lan
    masters: Masters
    clients: Clients
    clocks: WallClocks
    habits: Mapping[str, Mapping[str, Any]]  # Of the client on each host.
    operator: Operator
    absences: Absences
    disk: SmallDisk | None
    disk_of: str = ""  # The master that lives on the small disk.
    client_hosts: Sequence[str] = ()
    client_names: dict[str, str] = field(default_factory=dict)  # Host -> the client there.

    def start_client(self, host: str) -> None:
        enter = self.lan.hosts[host].enter
        self.client_names[host] = self.clients.start(host, enter, **self.habits[host])


class Faults:
    """Begins planned faults, and returns what ends each."""

    def __init__(self, stand: Stand) -> None:
        self.done: Counter[str] = Counter()
        self._full_until_s = 0.0  # The small disk is full, or was a moment ago.
        self.unclean: list[str] = []
        self.note = ""  # Whom the newest fault met.
        self._stand = stand

    def begin(self, planned: Planned) -> Mend | None:
        """Do it to whom it meets; return what ends it, or None when it met nobody."""
        self.note = ""
        mend = self._begin(planned)
        if mend is not None:
            self.done[planned.kind] += 1
        return mend

    def _begin(self, planned: Planned) -> Mend | None:
        kind = planned.kind
        if kind == schedule.CLIENT_KILL:
            return self._kill_client(planned)
        if kind == schedule.FULL_DISK:
            return self._fill(planned)
        victim = self._victim(planned)
        if victim is None:
            return None
        self.note = victim.name
        if kind == schedule.KILL:
            victim.end(signal.SIGKILL)
            return lambda: self._start(victim)
        if kind in (schedule.REPLACE, schedule.GROW, schedule.RIVALS, schedule.HANDOVER):
            return self._change_masters(planned, victim)
        if kind == schedule.SNAPSHOT:
            how, deed = divmod(int(planned.amount), len(schedule.DEEDS))
            begun = self._stand.absences.begin(victim, how, deed, planned.chance)
            return _nothing if begun else None
        if kind == schedule.RESTART:
            if not victim.end(signal.SIGTERM):
                self.unclean.append(f"{victim.name} did not end within 20 s of SIGTERM")
            return lambda: self._start(victim)
        if kind == schedule.PAUSE:
            victim.paused = True
            victim.signal(signal.SIGSTOP)
            return lambda: self._wake(victim)
        if kind == schedule.CLOCK:
            self._stand.clocks.step(victim.name, planned.amount)
            return lambda: self._stand.clocks.step(victim.name, 0.0)
        return self._break_links(planned, victim.name)

    def may_end_full(self, name: str) -> bool:
        """Return whether a master may end because its disk is full."""
        return name == self._stand.disk_of and time.monotonic() < self._full_until_s

    def _victim(self, planned: Planned) -> MasterProcess | None:
        masters = self._stand.masters
        leader = masters.leader()
        able = [one for one in masters.all.values() if one.running and not one.paused]
        if planned.kind == schedule.SNAPSHOT or planned.role == schedule.FOLLOWER:
            chosen = [one for one in able if one.name != leader]
        elif planned.role == schedule.LEADER:
            chosen = [one for one in able if one.name == leader]
        else:
            chosen = able
        chosen = chosen or able
        return chosen[int(planned.chance * len(chosen))] if chosen else None

    def _change_masters(self, planned: Planned, victim: MasterProcess) -> Mend | None:
        operator, kind, choice = self._stand.operator, planned.kind, int(planned.amount)
        if kind == schedule.HANDOVER:
            return _nothing if operator.hand_over(victim, choice) else None
        if kind == schedule.GROW:
            begun, deed = operator.grow(victim), choice
        elif kind == schedule.RIVALS:
            begun, deed = operator.rival(victim, choice), -1
        else:
            # Not two of three away for long: nothing would happen meanwhile.
            dies = choice == schedule.BURIAL and not self._stand.absences.busy
            begun = operator.replace(victim, dies)
            deed = choice - schedule.OPERATOR_DIES
        if not begun:
            return None
        return _nothing if deed < 0 else lambda: self._strike(deed)

    def _strike(self, deed: int) -> None:
        self.note = self._stand.operator.strike(deed)

    def _start(self, master: MasterProcess) -> None:
        # One that was replaced meanwhile stays away.
        if not master.running and master.name in self._stand.masters.all:
            master.start()

    def _wake(self, master: MasterProcess) -> None:
        master.paused = False
        master.signal(signal.SIGCONT)

    def _kill_client(self, planned: Planned) -> Mend | None:
        names = self._stand.client_names
        host = sorted(names)[int(planned.chance * len(names))]
        self.note = names[host]
        self._stand.clients.kill(names[host])
        self._stand.start_client(host)
        return _nothing

    def _fill(self, planned: Planned) -> Mend | None:
        disk = self._stand.disk
        if disk is None:
            return None
        self.note = self._stand.disk_of
        self._full_until_s = float("inf")
        free = disk.fill(int(planned.amount))

        def mend() -> None:
            free()
            self._full_until_s = time.monotonic() + _FULL_ECHO_S

        return mend

    def _break_links(self, planned: Planned, victim: str) -> Mend:
        masters = [name for name in self._stand.masters.all if name != victim]
        clients = [name for name in self._stand.lan.hosts if name in self._stand.client_hosts]
        others = masters + clients
        near = [victim]
        if planned.kind == schedule.ISOLATE:
            others = masters
        elif planned.kind == schedule.SPLIT:
            # Some clients stay with the minority, each possible choice alike, but never all.
            choice = int(planned.chance * 7919) % ((1 << len(clients)) - 1)
            near += [name for at, name in enumerate(clients) if choice >> at & 1]
            others = [name for name in others if name not in near]
        ways = [(one, other) for one in near for other in others]
        ways += [(other, one) for one, other in ways]
        if planned.kind == schedule.ONE_WAY:
            ways = self._choose_ways(planned, victim, masters)
        fault = _FAULTS[planned.kind](planned.amount)
        return self._stand.lan.break_ways(ways, fault)

    def _choose_ways(
        self, planned: Planned, victim: str, masters: list[str]
    ) -> list[tuple[str, str]]:
        """Return all ways out of a master, all ways into it, or a single one."""
        choice = int(planned.chance * 997) % 4
        if choice == 0:
            return [(victim, other) for other in masters]
        if choice == 1:
            return [(other, victim) for other in masters]
        other = masters[int(planned.chance * 7919) % len(masters)]
        return [(victim, other)] if choice == 2 else [(other, victim)]


def _nothing() -> None:
    pass
