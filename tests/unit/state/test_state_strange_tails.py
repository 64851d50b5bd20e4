"""Commands about tails with any numbers in them: refused or passed over, never our mistake."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from state_driver import Driver, empty_file
from tail_workload import TailWorkload, paths

from gfs_ha.master.state.commands import BeginSeal, Command, CommitSeal
from gfs_ha.master.state.tail_commands import (
    AbandonTails,
    EndHolds,
    FinishTail,
    HoldInodes,
    OpenTail,
    PlaceTail,
    RenewLeases,
)
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.extents import ReplaceContent, StageCopy
from gfs_ha.protocol.metadata import OpenSession, Publish
from gfs_ha.protocol.records import RecordEntry

EDGES = (0, 1, 2, 3, 4, 5, 100, 101, 1024, -1, 1 << 20, 1 << 32, (1 << 62) - 1, 1 << 62)
EDGES += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))
TEXTS = ("", "/", "/log", "/d/log", "/d", "log", "/log/x", "/\x00", "k" * 256, "\n", "é", "/..")


class Fuzz:
    def __init__(self, seed: int, driver: Driver) -> None:
        self.dice = random.Random(seed)
        self.driver = driver
        self.tails = TailWorkload(self.dice, driver, 3)

    def number(self) -> int:
        """Return what may be there, or an edge of what can be said at all."""
        with self.driver.view() as view:
            chunks = [chunk_id for chunk_id, _ in view.chunks_after(0, 50)]
            indexes = [row.begin_index for _, row in view.chunks_after(0, 50)]
            inodes = list(paths(view).values())
        known = self.dice.choice((chunks, inodes, indexes)) or [1]
        return self.dice.choice(known if self.dice.random() < 0.5 else EDGES)

    def numbers(self, width: int) -> tuple:
        count = self.dice.choice((0, 1, 2, 3, 251))
        if width == 1:
            return tuple(self.number() for _ in range(min(count, 4))) * (1 + (count > 4) * 99)
        return tuple(tuple(self.number() for _ in range(width)) for _ in range(min(count, 4)))

    def text(self) -> str:
        return self.dice.choice(TEXTS)

    def records(self) -> tuple[RecordEntry, ...]:
        made = [RecordEntry(*(self.number() for _ in range(5))) for _ in range(3)]
        return tuple(sorted(made))[: self.dice.randint(0, 3)]

    def command(self) -> tuple[Command, bool]:
        """Return a command, and whether it is a session's; half of them fit but for one number."""
        if self.dice.random() < 0.5:
            return self.spoiled(self.tails.change()), False
        n, text = self.number, self.text
        holders = tuple(self.dice.sample((1, 2, 3, -1, 1 << 63), self.dice.randint(0, 3)))
        makers: list[tuple[Callable[[], Command], bool]] = [
            (lambda: PlaceTail(n(), self.numbers(2), text(), n()), False),
            (lambda: PlaceTail(n(), ((1, 101), (2, 102))), False),
            (lambda: AbandonTails(self.numbers(1), self.dice.random() < 0.5), False),
            (lambda: OpenTail(n(), n(), text(), self.dice.choice((1, n())), 1), False),
            (lambda: OpenTail(n(), n(), text(), n(), n()), False),
            (lambda: BeginSeal(n(), text()), False),
            (lambda: CommitSeal(n(), n(), n(), n(), holders, n(), self.records()), False),
            (lambda: CommitSeal(n(), n(), n(), 1, (1,), 5, self.records()), False),
            (lambda: FinishTail(n(), 1, 1, n(), n(), n(), holders, self.records()), False),
            (lambda: RenewLeases(self.numbers(3)), False),
            (lambda: HoldInodes(self.numbers(1), n()), False),
            (lambda: EndHolds(self.numbers(2)), False),
            (lambda: OpenSession(text(), text()), False),
            (lambda: StageCopy(text(), n(), n(), n(), n(), n(), n()), True),
            (lambda: ReplaceContent(text(), n(), n(), n(), n(), n(), n()), True),
        ]
        maker, of_session = self.dice.choice(makers)
        return maker(), of_session

    def spoiled(self, command: Command) -> Command:
        numbers = [one for one in command.__struct_fields__ if type(getattr(command, one)) is int]
        if not numbers or self.dice.random() < 0.4:
            return command
        return replace(command, **{self.dice.choice(numbers): self.number()})


@pytest.mark.parametrize("seed", range(4))
def test_any_numbers_are_refused_or_passed_over(seed: int) -> None:
    driver = Driver()
    session = driver.open_session()
    files = (empty_file("/log"), empty_file("/d/log"), empty_file("/d/e/log"))
    driver.ok(Publish(files, make_parents=True), session)
    driver.tail("/d/e/log")
    fuzz = Fuzz(seed, driver)
    for _ in range(600):
        command, of_session = fuzz.command()
        try:
            reply = driver.do(command, session if of_session else 0)
        except OverflowError:
            continue  # Such a number cannot even be written down.
        if isinstance(reply, Failure):
            assert reply.error != "InternalError", command
    driver.check()
