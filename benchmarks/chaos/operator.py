"""Operators who change the masters while everything goes wrong, and never give up.

They replace, add and remove masters, also two of them at once who do not know of each other, hand
the leadership to whom it cannot go, die half way and begin again. After each errand they level the
number of those that vote to three, as a person does who looks at `gfsctl admin masters ls`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chaos.masters import PORT, RAFT_PORT, MasterProcess, Masters, Place
from chaos.verdict import Trouble

Ask = Callable[..., "subprocess.Popen[str]"]
# No leader, no answer, or a newcomer that was killed: the same command goes on later.
_AGAIN = (1, 5, 10, -signal.SIGKILL)
_DOWN_S = 0.7  # How long a master stays away that was killed in the middle of a change.
_ASIDE_S = 4.0  # Until a refused command has ended.
_VOTERS = 3
_TRIES_MAX = 40
# What a refusal says to an operator who was overtaken by another one.
_REFUSED = {3: "there is no such master any more", 4: "it is so already, or must not be"}


@dataclass
class _Command:
    """One command, given again until it ends in one of the statuses that are an end."""

    words: tuple[str, ...]
    ends: frozenset[int]
    process: subprocess.Popen[str]
    tries: int = 1

    @property
    def running(self) -> bool:
        return self.process.poll() is None


@dataclass
class _Errand:
    """What is under way: commands at once, then others, then the levelling."""

    what: str
    commands: list[_Command]
    then: list[tuple[str, ...]] = field(default_factory=list)
    old: str = ""
    new: str = ""
    levels: bool = False  # The command under way looks who is there.
    began_s: float = field(default_factory=time.monotonic)


@dataclass
class _Aside:
    """A command that is to be refused, whatever else is under way."""

    what: str
    ends: frozenset[int]
    process: subprocess.Popen[str]
    dead: MasterProcess | None = None


class Operator:
    """Gives the commands that `gfsctl` offers. Args: `ask` starts one; `spares` are places of new
    masters, each used once.
    """

    def __init__(self, masters: Masters, ask: Ask, spares: Sequence[Place]) -> None:
        self.done: Counter[str] = Counter()
        self.told: Counter[str] = Counter()  # How commands ended that were refused.
        self.wrong: list[str] = []
        self.troubles: list[Trouble] = []  # Which masters these changes made fail, and when.
        self._masters = masters
        self._ask = ask
        self._spares = list(spares)
        self._errand: _Errand | None = None
        self._asides: list[_Aside] = []
        self._down: list[tuple[float, MasterProcess]] = []
        self._buried: dict[str, float] = {}  # Dead before they were replaced, and since when.

    @property
    def busy(self) -> bool:
        return self._errand is not None or bool(self._asides) or bool(self._down)

    # What they begin.

    def replace(self, old: MasterProcess, dies: bool = False) -> bool:
        """Begin to replace a master; False while something else is under way."""
        if self._errand is not None or not self._spares:
            return False
        place = self._new()
        if dies:
            self._buried[old.name] = time.monotonic()
            old.end(signal.SIGKILL)
        command = self._command(_replace(old.name, place), {0})
        self._errand = _Errand("replace", [command], old=old.name, new=place.name)
        return True

    def grow(self, old: MasterProcess) -> bool:
        """Begin to add a master, and to remove another one then."""
        if self._errand is not None or not self._spares:
            return False
        place = self._new()
        then: list[tuple[str, ...]] = [("remove", "-y", old.name)]
        command = self._command(_add(place), {0})
        self._errand = _Errand("add and remove", [command], then, old.name, place.name)
        return True

    def rival(self, old: MasterProcess, kind: int) -> bool:
        """Let two operators begin at once, who do not know of each other."""
        others = [name for name in self._masters.all if name != old.name]
        if self._errand is not None or len(self._spares) < 2 or len(others) < 2:
            return False
        place = self._new()
        first = _replace(old.name, place)
        if kind == 0:
            what, second = "replace two", _replace(others[0], self._new())
        elif kind == 1:
            what, second = "replace and remove one", ("remove", "-y", old.name)
        elif kind == 2:
            what, second = "replace and remove another", ("remove", "-y", others[0])
        else:
            what, second = "replace one twice", _replace(old.name, self._new())
        ends = {0, *_REFUSED}
        commands = [self._command(words, ends) for words in (first, second)]
        self._errand = _Errand(what, commands, old=old.name, new=place.name)
        return True

    def strike(self, deed: int) -> str:
        """Do harm in the middle of what is under way; return to whom."""
        errand = self._errand
        if errand is None or errand.levels or not errand.commands[0].running:
            return ""
        if deed == 0:
            errand.commands[0].process.kill()
            self.done["kill -9 of gfsctl"] += 1
            return "gfsctl"
        name = (errand.new, errand.old, self._masters.leader())[(deed - 1) % 3]
        master = self._masters.all.get(name)
        if master is None or not master.running:
            return ""
        self._end(master, _DOWN_S)
        self._down.append((time.monotonic() + _DOWN_S, master))
        self.done[f"kill -9 of the {('new', 'old', 'leading')[(deed - 1) % 3]} master"] += 1
        return name

    def hand_over(self, victim: MasterProcess, kind: int) -> bool:
        """Ask for a leader that cannot be: unknown, removed, dead, a learner, the leader itself."""
        learner = "" if self._errand is None else self._errand.new
        gone = list(self._masters.gone)
        leader = self._masters.leader()
        choices = [("unknown", "m99", {3}), ("leader", leader, {0, 3, 4})]
        choices.append(("dead", victim.name, {3, 4}))
        if gone:
            choices.append(("removed", gone[-1], {3}))
        if learner:
            choices.append(("learner", learner, {0, 3, 4}))
        what, name, ends = choices[kind % len(choices)]
        if not name or self._asides:
            return False
        dead = victim if what == "dead" else None
        if dead is not None:
            self._end(dead, _ASIDE_S)
        process = self._ask("--timeout", "3", "admin", "masters", "transfer-leader", name)
        self._asides.append(_Aside(what, frozenset({*ends, 5, 10}), process, dead))
        return True

    # How it goes on.

    def look(self) -> None:
        """See how far the commands are; give them again when they ended before it was done."""
        for one in [one for one in self._down if one[0] <= time.monotonic()]:
            self._down.remove(one)
            self._start(one[1])
        for aside in [one for one in self._asides if one.process.poll() is not None]:
            self._asides.remove(aside)
            self._end_aside(aside)
        errand = self._errand
        if errand is not None:
            for command in list(errand.commands):
                if not command.running:
                    self._end_command(errand, command)
            if not errand.commands:
                self._go_on(errand)

    def close(self) -> None:
        """End the commands that are under way."""
        commands = [] if self._errand is None else self._errand.commands
        processes = [one.process for one in commands] + [one.process for one in self._asides]
        for process in processes:
            process.kill()
            process.communicate()

    def _end_command(self, errand: _Errand, command: _Command) -> None:
        output, errors = command.process.communicate()
        status = command.process.returncode
        said = (output + errors).strip()[-300:]
        words = " ".join(command.words[:3])
        ends = command.ends
        if command.tries > 1:
            ends |= {3, 4}  # Done before, by the try whose answer was lost.
        clear = "Traceback" not in said and "InternalError" not in said and bool(said)
        if status in ends and clear:
            errand.commands.remove(command)
            if status:
                self.told[f"{errand.what}: {said.splitlines()[-1][:90]}"] += 1
            if errand.levels:
                self._level(errand, output)
        elif status in _AGAIN and clear | (status == -signal.SIGKILL):
            if command.tries >= _TRIES_MAX:
                self._give_up(errand, f"{words} still fails after {_TRIES_MAX} tries: {said}")
                return
            command.tries += 1
            command.process = self._ask(*command.words)
        else:
            self._give_up(errand, f"{words} ended with {status}: {said}")

    def _give_up(self, errand: _Errand, why: str) -> None:
        self.wrong.append(f"{errand.what}: {why}")
        for command in errand.commands:
            command.process.kill()
            command.process.communicate()
        errand.commands.clear()

    def _go_on(self, errand: _Errand) -> None:
        if self._errand is not errand:
            return
        if errand.then:
            words = errand.then.pop(0)
            errand.commands.append(self._command(words, {0, 3}))
        elif not errand.levels:
            errand.levels = True
            errand.commands.append(self._list())
        else:
            self._errand = None  # It was given up.

    def _level(self, errand: _Errand, output: str) -> None:
        """Turn off who is out; have three that vote and nobody who only learns."""
        words = errand.commands
        try:
            rows = [json.loads(line) for line in output.splitlines() if line.strip()]
            voters = [row["name"] for row in rows if row["voter"]]
            learners = [row["name"] for row in rows if not row["voter"]]
        except (ValueError, KeyError, TypeError):
            self.wrong.append(f"masters ls says {output[:200]!r}")
            self._errand = None
            return
        for name in [name for name in self._masters.all if name not in voters + learners]:
            self._masters.remove(name)
            if name in self._buried:
                began_s = self._buried.pop(name)
                self.troubles.append(Trouble(name, began_s, time.monotonic()))
        if learners:
            change: tuple[str, ...] = ("remove", "-y", learners[0])
        elif len(voters) > _VOTERS:
            change = ("remove", "-y", voters[0])
        elif len(voters) < _VOTERS and self._spares:
            change = _add(self._new())
        else:
            self.done[errand.what] += 1
            if "remove" in errand.what:
                # Two may vote for a while: then each of them is needed.
                now_s = time.monotonic()
                self.troubles.append(Trouble("*", errand.began_s, now_s, everyone=True))
            self._errand = None
            return
        errand.levels = False  # And look again after that.
        words.append(self._command(change, {0, 3, 4}))

    def _end_aside(self, aside: _Aside) -> None:
        output, errors = aside.process.communicate()
        said = (output + errors).strip()[-300:]
        status = aside.process.returncode
        revived = aside.dead is not None and aside.dead.running
        if status not in aside.ends and not (revived and status == 0):
            self.wrong.append(f"transfer to {aside.what} ended with {status}: {said}")
        elif not said or "Traceback" in said:
            self.wrong.append(f"transfer to {aside.what} ended without a clear word: {said}")
        self.told[f"transfer to {aside.what}: {status}"] += 1
        if aside.dead is not None:
            self._start(aside.dead)

    def _end(self, master: MasterProcess, seconds: float) -> None:
        """Kill a master that is away for about so long."""
        now_s = time.monotonic()
        self.troubles.append(Trouble(master.name, now_s, now_s + seconds))
        master.end(signal.SIGKILL)

    def _start(self, master: MasterProcess) -> None:
        if not master.running and master.name in self._masters.all:
            master.start()

    def _new(self) -> Place:
        place = self._spares.pop(0)
        self._masters.add(place)
        return place

    def _command(self, words: tuple[str, ...], ends: set[int]) -> _Command:
        whole = ("--timeout", "5", "admin", "masters", *words)
        return _Command(whole, frozenset(ends), self._ask(*whole))

    def _list(self) -> _Command:
        return self._command(("ls", "-o", "jsonl"), {0})


def _replace(old: str, new: Place) -> tuple[str, ...]:
    return ("replace", "-y", old, new.name, _where(new))


def _add(new: Place) -> tuple[str, ...]:
    return ("add", new.name, _where(new))


def _where(place: Place) -> str:
    return f"{place.address}:{PORT}:{RAFT_PORT}"
