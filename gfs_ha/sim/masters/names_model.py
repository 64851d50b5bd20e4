"""The sequential model of a few names: what each operation answers, and what it leaves."""

from __future__ import annotations

from typing import cast

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
from gfs_ha.sim.masters.linear import State

EMPTY: State = ()

_Names = tuple[tuple[str, int], ...]  # (name, tag of its content), sorted.


def step(state: State, operation: Operation) -> State | None:
    """Return the names after an operation, or None when they do not let it answer so."""
    names = dict(cast(_Names, state))
    answer = _apply(names, operation)
    if operation.returned_s is not None and answer != operation.answer:
        return None
    return tuple(sorted(names.items()))


def _apply(names: dict[str, int], operation: Operation) -> str | int:
    name, kind = operation.name, operation.kind
    if kind == STAT:
        return names.get(name, ABSENT)
    if kind == CREATE and name in names:
        return PRESENT
    if kind in (PUT, CREATE):
        names[name] = operation.tag
        return OK
    if name not in names:
        return ABSENT
    if kind == DELETE:
        del names[name]
        return OK
    assert kind == RENAME
    if operation.target in names and not operation.replace:
        return PRESENT
    names[operation.target] = names.pop(name)
    return OK
