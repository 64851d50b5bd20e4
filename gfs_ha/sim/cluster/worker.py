"""One thread of a user that puts, changes, removes and reads files, and judges what it reads."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gfs_ha.errors import GfsError, NotFound, UnknownOutcome
from gfs_ha.master.rules import RULE_TEXTS
from gfs_ha.protocol.metadata import DISK, MEMORY
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.files_model import ABSENT, Content, FileHistory
from gfs_ha.sim.cluster.user import Outcomes, SimUser
from gfs_ha.sim.masters.tasks import Killed
from gfs_ha.sim.masters.world import World

_CHANGES = (
    *("put", "put", "put", "put", "put", "rm", "rm", "pwrite", "pwrite", "truncate", "copy"),
    *("concat", "setrep", "policy"),
)
_CONCAT_BYTES_MAX = 3_000_000


@dataclass(frozen=True, slots=True)
class Habits:
    """How a user works."""

    pause_s: float  # The mean between two operations of a task.
    timeout_s: float
    write_share: float
    memory_share: float  # Of puts at durability `memory`.
    sizes: tuple[int, ...]
    copies: tuple[int, ...]  # That files are to have, now and then; none: as many as usual.


class Worker:
    """It alone changes its names, and reads those of all."""

    def __init__(
        self,
        user: SimUser,
        world: World,
        habits: Habits,
        files: tuple[list[FileHistory], list[FileHistory]],
        outcomes: Outcomes,
    ) -> None:
        """Args: `files` are (its own, everybody's)."""
        self.ending = False
        self.busy = ""
        self._user = user
        self._world = world
        self._habits = habits
        self._own, self._everybody = files
        self._outcomes = outcomes

    def run(self) -> None:
        chance = self._world.chance
        while not self.ending:
            self._user.runtime.sleep(chance.expovariate(1 / self._habits.pause_s))
            if self.ending:
                return
            if chance.random() < self._habits.write_share:
                self._change(chance.choice(self._own))
            else:
                self.read(chance.choice(self._everybody))

    def read(self, history: FileHistory) -> bool:
        """Read a whole file and judge it; return whether it could be read."""
        scheduler = self._world.scheduler
        asked_s = scheduler.now_s
        self.busy = f"get {history.name}"
        data: bytes | None = None
        try:
            data = self._user.cluster.read_bytes(history.name)
        except NotFound:
            pass
        except GfsError as error:
            self._outcomes.fails(error)
            self._user.note(f"{self.busy}: {error.code}: {error.message}")
            return False
        finally:
            what, self.busy = self.busy, ""
        seen = history.check(data, asked_s, scheduler.now_s)
        self._outcomes.done += 1
        self._user.note(f"{what}: {seen}")
        return True

    def _change(self, history: FileHistory) -> None:
        chance = self._world.chance
        there = history.sure and history.newest.data
        kind = chance.choice(_CHANGES)
        if kind == "rm" and history.newest != ABSENT:
            perhaps_gone = history.allows_absence(self._world.scheduler.now_s)
            self._attempt(history, ABSENT, "rm", partial(self._remove, history, perhaps_gone))
        elif kind == "pwrite" and there:
            self._pwrite(history, there)
        elif kind == "truncate" and there:
            size = chance.randrange(len(there))
            act = partial(self._user.cluster.truncate, history.name, size)
            self._attempt(history, self._content(there[:size]), kind, act)
        elif kind == "copy":
            self._copy(history)
        elif kind == "concat":
            self._concat(history)
        elif kind == "setrep" and there and self._habits.copies:
            self._want_copies(history)
        elif kind == "policy" and self._habits.copies:
            self._set_policy()
        else:
            self._put(history)

    def _put(self, history: FileHistory) -> None:
        chance = self._world.chance
        tag = self._world.next_tag()
        data = random.Random(tag).randbytes(chance.choice(self._habits.sizes))
        durability = MEMORY if chance.random() < self._habits.memory_share else DISK
        content = Content(f"#{tag}", data)

        def act() -> None:
            with self._user.cluster.open(history.name, "wb", durability=durability) as file:
                step = max(1, len(data) // 3)
                for start in range(0, len(data), step):
                    file.write(data[start : start + step])
            self._outcomes.bytes_put += len(data)

        self._attempt(history, content, "put", act)

    def _pwrite(self, history: FileHistory, there: bytes) -> None:
        chance = self._world.chance
        offset = chance.randrange(len(there) + 1)
        patch = random.Random(self._world.next_tag()).randbytes(chance.choice([10, 3000, 100_000]))
        data = there[:offset] + patch + there[offset + len(patch) :]
        act = partial(self._user.cluster.pwrite, history.name, offset, patch)
        self._attempt(history, self._content(data), "pwrite", act)

    def _copy(self, history: FileHistory) -> None:
        source = self._world.chance.choice(self._own)
        data = source.newest.data
        if source is history or not source.sure or data is None:
            return
        act = partial(self._user.cluster.copy, source.name, history.name)
        self._attempt(history, self._content(data), f"copy {source.name} to", act)

    def _concat(self, history: FileHistory) -> None:
        """Put two files together, perhaps one with itself, perhaps over one of them."""
        sources = [self._world.chance.choice(self._own) for _ in range(2)]
        parts = [one.newest.data for one in sources if one.sure and one.newest.data is not None]
        data = b"".join(parts)
        if len(parts) < len(sources) or len(data) > _CONCAT_BYTES_MAX:
            return
        names = [one.name for one in sources]
        act = partial(self._user.cluster.concat, names, history.name)
        self._attempt(history, self._content(data), f"concat {' '.join(names)} to", act)

    def _want_copies(self, history: FileHistory) -> None:
        copies = self._world.chance.choice(self._habits.copies)
        change = partial(self._user.cluster.policies.set_replication, history.name, copies)
        self._ask(f"setrep {copies} {history.name}", change)

    def _set_policy(self) -> None:
        chance, policies = self._world.chance, self._user.cluster.policies
        copies, rule = chance.choice(self._habits.copies), chance.choice(tuple(RULE_TEXTS))
        self._ask(f"policy {copies} {rule}", partial(policies.set, "/", replicas=copies, rule=rule))

    def _ask(self, what: str, act: Callable[[], object]) -> None:
        """Do what changes no content."""
        self.busy = what
        outcome = "done"
        try:
            act()
            self._outcomes.done += 1
        except GfsError as error:
            self._outcomes.fails(error)
            outcome = f"{error.code}: {error.message}"
        finally:
            self.busy = ""
        self._user.note(f"{what}: {outcome}")

    def _content(self, data: bytes) -> Content:
        return Content(f"#{self._world.next_tag()}", data)

    def _remove(self, history: FileHistory, perhaps_gone: bool) -> None:
        try:
            self._user.cluster.remove(history.name)
        except NotFound as error:
            if not perhaps_gone:
                raise Violation(f"lost: {history.name} with {history.newest} is gone") from error

    def _attempt(
        self, history: FileHistory, content: Content, verb: str, act: Callable[[], object]
    ) -> None:
        scheduler = self._world.scheduler
        history.begins(content, scheduler.now_s)
        self.busy = f"{verb} {history.name} {content}"
        outcome = "done"
        try:
            act()
            history.acknowledged(content, scheduler.now_s)
            self._outcomes.done += 1
            self._outcomes.changes += 1
        except UnknownOutcome:
            history.unknown()
            self._outcomes.unknown += 1
            outcome = "unknown"
        except GfsError as error:
            history.not_applied()
            self._outcomes.fails(error)
            outcome = f"not done: {error.code}: {error.message}"
        except Killed:
            history.unknown()
            raise
        finally:
            what, self.busy = self.busy, ""
        self._user.note(f"{what}: {outcome}")
