"""The checker of histories: what is right passes, what is wrong does not."""

from __future__ import annotations

import random

import pytest

from gfs_ha.sim.masters.history import (
    ABSENT,
    CREATE,
    DELETE,
    OK,
    PRESENT,
    PUT,
    RENAME,
    STAT,
    Operation,
)
from gfs_ha.sim.masters.linear import judge
from gfs_ha.sim.masters.names_model import EMPTY, step


def op(
    kind: str,
    name: str,
    called_s: float,
    returned_s: float | None,
    answer: str | int = OK,
    **more: object,
) -> Operation:
    operation = Operation("c", kind, name, **more)  # type: ignore[arg-type]
    operation.called_s, operation.returned_s, operation.answer = called_s, returned_s, answer
    return operation


def put(
    tag: int, called_s: float, returned_s: float | None, name: str = "a", kind: str = PUT
) -> Operation:
    return op(kind, name, called_s, returned_s, tag=tag)


def stat(answer: str | int, called_s: float, returned_s: float, name: str = "a") -> Operation:
    return op(STAT, name, called_s, returned_s, answer)


GOOD = {
    "nothing happened": [],
    "one after another": [put(1, 0, 1), stat(1, 2, 3), put(2, 4, 5), stat(2, 6, 7)],
    "a read beside a put sees either": [put(1, 0, 1), put(2, 2, 9), stat(1, 3, 4), stat(2, 5, 6)],
    "an unknown put is seen late": [put(1, 0, None), stat(ABSENT, 5, 6), stat(1, 7, 8)],
    "an unknown put never happens": [put(1, 0, None), stat(ABSENT, 5, 6), stat(ABSENT, 7, 8)],
    "an unknown delete explains an absence": [
        put(1, 0, 1),
        op(DELETE, "a", 2, None),
        stat(1, 3, 4),
        stat(ABSENT, 5, 6),
    ],
    "two creates, one wins": [
        put(1, 0, 5, kind=CREATE),
        op(CREATE, "a", 0, 5, PRESENT, tag=2),
        stat(1, 6, 7),
    ],
    "a rename moves the content": [
        put(1, 0, 1),
        op(RENAME, "a", 2, 3, target="b"),
        stat(1, 4, 5, "b"),
        stat(ABSENT, 4, 5),
    ],
    "a rename onto itself": [put(1, 0, 1), op(RENAME, "a", 2, 3, target="a"), stat(1, 4, 5)],
}

BAD = {
    "an acknowledged put is lost": [put(1, 0, 1), stat(ABSENT, 2, 3)],
    "a stale read": [put(1, 0, 1), put(2, 2, 3), stat(1, 4, 5)],
    "new, then old": [put(1, 0, 1), put(2, 2, 9), stat(2, 3, 4), stat(1, 5, 6)],
    "a put happens twice": [put(1, 0, 1), put(2, 2, 3), stat(1, 4, 5), stat(2, 6, 7)],
    "an unknown put happens twice": [
        put(1, 0, None),
        stat(1, 1, 2),
        op(DELETE, "a", 3, 4),
        stat(ABSENT, 5, 6),
        stat(1, 7, 8),
    ],
    "a read before its put": [stat(1, 0, 1), put(1, 2, 3)],
    "two creates win": [put(1, 0, 1, kind=CREATE), put(2, 2, 3, kind=CREATE)],
    "a rename leaves its source": [
        put(1, 0, 1),
        op(RENAME, "a", 2, 3, target="b"),
        stat(1, 4, 5),
    ],
    "a rename if absent over something": [
        put(1, 0, 1),
        put(2, 0, 1, "b"),
        op(RENAME, "a", 2, 3, target="b", replace=False),
    ],
    "a delete of nothing": [op(DELETE, "a", 0, 1)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_is_right_passes(name: str) -> None:
    assert judge(GOOD[name], EMPTY, step).linearizable


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_is_wrong_does_not(name: str) -> None:
    verdict = judge(BAD[name], EMPTY, step)
    assert verdict.decided and not verdict.linearizable


def recorded(chance: random.Random, count: int) -> list[Operation]:
    """Return what clients of a right system could have seen: effects in order, blurred in time."""
    names: dict[str, int] = {}
    found = []
    for at in range(count):
        name, tag = chance.choice("abc"), at + 1
        kind = chance.choice([PUT, CREATE, DELETE, RENAME, STAT, STAT])
        operation = Operation("c", kind, name, target=chance.choice("abc"), tag=tag)
        answered = chance.random() < 0.95
        state = tuple(sorted(names.items()))
        for answer in (OK, ABSENT, PRESENT, *names.values()):
            operation.returned_s, operation.answer = 0.0, answer
            after = step(state, operation)
            if after is not None:
                break
        assert after is not None
        operation.called_s = at - chance.uniform(0.0, 4.0)
        operation.returned_s = at + chance.uniform(0.0, 4.0) if answered else None
        if answered or chance.random() < 0.5:
            names = dict(after)  # type: ignore[call-overload]
        found.append(operation)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_what_a_right_system_shows_passes_and_one_lie_in_it_is_found(seed: int) -> None:
    chance = random.Random(seed)
    history = recorded(chance, 120)
    verdict = judge(history, EMPTY, step)
    assert verdict.decided and verdict.linearizable
    lie = Operation("c", STAT, "a", called_s=200.0, returned_s=201.0, answer=9999)
    verdict = judge([*history, lie], EMPTY, step, steps_max=20_000)
    assert not verdict.linearizable
    assert verdict.stuck == (lie,) or not verdict.decided


def test_a_search_that_takes_too_long_judges_nothing() -> None:
    history = [put(tag, 0, None) for tag in range(1, 30)] + [stat(99, 50, 51)]
    verdict = judge(history, EMPTY, step, steps_max=1000)
    assert not verdict.decided
