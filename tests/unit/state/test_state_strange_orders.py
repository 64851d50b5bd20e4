"""The leader's commands with any values in them: refused or passed over, never our mistake."""

from __future__ import annotations

import random
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from state_driver import Driver

from gfs_ha.master.state.commands import (
    BeginSeal,
    ConfirmCopy,
    DropReplica,
    EndCopy,
    FitGoals,
    LoseHolder,
    PlaceCopy,
    ReplicasDeleted,
    SetRepairBudget,
)
from gfs_ha.master.state.event_commands import EventCommand
from gfs_ha.master.state.job_commands import JobCommand, StartJob
from gfs_ha.master.state.scrub_commands import ScrubCommand
from gfs_ha.master.state.server_mode_commands import ServerModeCommand, SetMaintenance
from gfs_ha.protocol import jobs, server_modes
from gfs_ha.protocol.events import KINDS, SEVERITIES
from gfs_ha.protocol.jobs import JobOptions
from gfs_ha.protocol.metadata import FinishChunk

COMMANDS = (
    *get_args(EventCommand),
    *get_args(JobCommand),
    *get_args(ScrubCommand),
    *get_args(ServerModeCommand),
    PlaceCopy,
    ConfirmCopy,
    DropReplica,
    EndCopy,
    FitGoals,
    LoseHolder,
    ReplicasDeleted,
    SetRepairBudget,
    BeginSeal,
)
EDGES = (0, 1, 2, 3, 4, 5, 100, 101, 102, 1024, -1, 1 << 20, 1 << 32, (1 << 62) - 1, 1 << 62)
EDGES += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))
SHARES = (0.0, -0.0, 0.05, 1.0, 1.5, -1.0, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "a", "a/b", "server/cs1", "SERVER_DEAD", "22:00-06:00", "٢٢:00-06:00", "99:99-00:00")
TEXTS += ("\n", "\x00", "é" * 300, "k" * 255, "k" * 70_000, "x=y", "/", "often/server/cs1")
TEXTS += (*jobs.LETTERS, jobs.RUNNING, jobs.PAUSED, *jobs.FINAL, *KINDS, *SEVERITIES)
TEXTS += (*server_modes.SERVER_MODES, *server_modes.DISK_MODES)


class Fuzz:
    """Values of any type that a command may carry, mostly edges, some of them there."""

    def __init__(self, seed: int, driver: Driver) -> None:
        self.dice = random.Random(seed)
        self.driver = driver
        self.known = list(EDGES)

    def look(self) -> None:
        """Learn the numbers that stand in the tables."""
        with self.driver.view() as view:
            chunks = view.chunks_after(0, 50)
            self.known = [chunk_id for chunk_id, _ in chunks]
            self.known += [chunk.sealed_index for _, chunk in chunks]
            self.known += [one.order_index for _, row in chunks for one in row.copying]
            self.known += [one.order_index for _, row in chunks for one in row.deleting]

    def value(self, kind: Any) -> Any:
        """Return any value of a type."""
        kind = getattr(kind, "__supertype__", kind)
        origin, dice = get_origin(kind), self.dice
        if kind is bool:
            return dice.random() < 0.5
        if kind is int:
            return dice.choice(self.known if self.known and dice.random() < 0.3 else EDGES)
        if kind is float:
            return dice.choice(SHARES)
        if kind is str:
            return dice.choice(TEXTS)
        if kind is bytes:
            return dice.choice((b"", b"x", bytes(2048), bytes(2049)))
        if origin is Literal:
            return dice.choice(get_args(kind))
        if origin is tuple:
            inner = get_args(kind)
            if inner[-1] is not Ellipsis:
                return tuple(self.value(one) for one in inner)
            count = dice.choice((0, 0, 1, 2, 3, 70, 5_000))
            few = [self.value(inner[0]) for _ in range(min(count, 3))]
            return tuple(few * (count // 3 or 1))[:count]
        assert isinstance(kind, type) and issubclass(kind, msgspec.Struct), kind
        return self.struct(kind)

    def struct(self, kind: type[Any]) -> Any:
        hints = get_type_hints(kind)
        named = {name: self.value(hints[name]) for name in kind.__struct_fields__}
        for name, default in zip(
            reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False
        ):
            if default is not msgspec.NODEFAULT and self.dice.random() < 0.4:
                named[name] = default
        return kind(**named)


def busy_cluster() -> Driver:
    """Return a cluster with chunks, copies under way, a job of each kind, and a rest."""
    driver = Driver(server_count=5)
    session = driver.open_session()
    for _ in range(3):
        chunk_id = driver.chunk(session).chunk_id
        driver.ok(FinishChunk(chunk_id, 100, 5, (1, 2, 3)), session)
    driver.chunk(session)
    driver.ok(StartJob(jobs.REBALANCE, JobOptions()))
    driver.ok(StartJob(jobs.DRAIN, JobOptions(), 2))
    driver.ok(StartJob(jobs.DISK_DRAIN, JobOptions(), 3, 103))
    driver.ok(SetMaintenance(4, 60_000))
    with driver.view() as view:
        for at, (chunk_id, chunk) in enumerate(view.chunks_after(0, 2)):
            seen = len(chunk.holders) + len(chunk.copying)
            place = (chunk_id, chunk.sealed_index, 4 + at, 104 + at, seen)
            driver.ok(PlaceCopy(*place, job=1 + at, leaves=1 + at))
    return driver


@pytest.mark.parametrize("seed", range(3))
def test_whatever_stands_in_a_command_it_is_answered_and_the_tables_agree(seed: int) -> None:
    driver = busy_cluster()
    fuzz = Fuzz(seed, driver)
    for number in range(700):
        if number % 50 == 0:
            fuzz.look()
        command = fuzz.struct(fuzz.dice.choice(COMMANDS))
        driver.do(command)
        assert not driver.mistakes, (command, driver.mistakes)
        if number % 233 == 0:
            driver.check()
    driver.check()
