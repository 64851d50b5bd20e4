"""Whether a recorded history is linearizable: the search of Wing and Gong, with memoisation.

Every answered operation must seem to happen at one moment between its call and its return; one
whose outcome is unknown at any moment after its call, or never. Histories of independent names are
judged one by one. Source: Wing and Gong 1993; Lowe 2017 for the memory of what was tried; Horn and
Kroening 2015 for the split.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from gfs_ha.sim.masters.history import READS, Operation

State = Hashable
Step = Callable[[State, Operation], State | None]

STEPS_MAX = 400_000  # Of one search; a history that needs more is not judged.


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the search found. `stuck` are the operations of which none could come next."""

    linearizable: bool
    decided: bool
    step_count: int
    stuck: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return "; ".join(str(operation) for operation in self.stuck[:6])


def judge(
    operations: Sequence[Operation], initial: State, step: Step, steps_max: int = STEPS_MAX
) -> Verdict:
    """Search for an order of the operations that respects time and the model.

    Args: `step(state, operation)` returns the state after it, or None when its answer cannot be
    given in that state.
    """
    search = _Search(operations, step, steps_max)
    return search.run(initial)


class _Search:
    """Answered operations in the order of their calls, and the open ones; depth first.

    An open operation is tried only when no answered one fits: most never mattered.
    """

    def __init__(self, operations: Sequence[Operation], step: Step, steps_max: int) -> None:
        answered = [one for one in operations if one.returned_s is not None]
        self._answered = sorted(answered, key=lambda one: one.called_s)
        self._open = [one for one in operations if one.returned_s is None and one.kind not in READS]
        self._step = step
        self._steps_max = steps_max
        self._step_count = 0
        self._deepest: tuple[int, tuple[Operation, ...]] = (-1, ())

    def run(self, initial: State) -> Verdict:
        seen: set[tuple[int, int, State]] = set()
        count = len(self._answered)
        # A frame: answered ones done (bits), open ones done (bits), state, what is left to try.
        stack = [(0, 0, initial, self._candidates(0, 0))]
        while stack:
            done, spent, state, candidates = stack[-1]
            if done == (1 << count) - 1:
                return Verdict(True, True, self._step_count)
            if not candidates:
                stack.pop()
                continue
            position = candidates.pop()
            self._step_count += 1
            if self._step_count > self._steps_max:
                return Verdict(False, False, self._step_count)
            if position < count:
                operation = self._answered[position]
                after = (done | 1 << position, spent)
            else:
                operation = self._open[position - count]
                after = (done, spent | 1 << (position - count))
            following = self._step(state, operation)
            if following is None or (position >= count and following == state):
                continue
            key = (*after, following)
            if key in seen:
                continue
            seen.add(key)
            stack.append((*after, following, self._candidates(*after)))
        return Verdict(False, True, self._step_count, self._deepest[1])

    def _candidates(self, done: int, spent: int) -> list[int]:
        """Return what may come next, the likeliest last: all that was called before any return of
        what is not done yet.
        """
        answered = self._answered
        first = _first_zero(done)
        end_s = float("inf")
        found = []
        for position in range(first, len(answered)):
            operation = answered[position]
            if operation.called_s > end_s:
                break
            if not done >> position & 1:
                assert operation.returned_s is not None
                end_s = min(end_s, operation.returned_s)
                found.append(position)
        depth = done.bit_count()
        if depth > self._deepest[0]:
            self._deepest = (depth, tuple(answered[at] for at in found))
        # What returned first came first, most often.
        found = [at for at in found if answered[at].called_s <= end_s]
        found.sort(key=lambda at: answered[at].returned_s or 0.0, reverse=True)
        lost = [
            len(answered) + at
            for at, operation in enumerate(self._open)
            if operation.called_s <= end_s and not spent >> at & 1
        ]
        return lost + found


def _first_zero(bits: int) -> int:
    return (~bits & (bits + 1)).bit_length() - 1
