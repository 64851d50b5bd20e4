"""The consensus fuzzer with readers on every member: linearizable, and not older than a bound.

    python -m gfs_ha.sim.follower_reads --seeds 200 [--start 1] [--break GUARD]

Ends with exit status 0 when no run broke a promise; with `--break`, when some run showed the hole.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import deque
from functools import partial

from gfs_ha.errors import GfsError
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.sim.consensus import Run
from gfs_ha.sim.member import SimMember
from gfs_ha.sim.read_guards import READ_GUARDS, READING

BOUNDS_S = (0.01, 0.06, 0.2, 1.0)
_RATE_ERROR = 1.04  # A bound is of the member's own clock; these are up to 3 % wrong.
_MEAN_S = 0.003


class ReadingRun(Run):
    """A run whose members are read, whoever leads."""

    def __init__(self, seed: int, node_type: type[RaftNode] = READING) -> None:
        super().__init__(seed, 3 if seed % 4 else 5, node_type)
        self._reader_chance = random.Random(f"{seed} readers")
        self._acked_at: deque[tuple[float, int]] = deque(maxlen=4096)
        self.bounded_count = 0
        self.followed_count = 0
        self._scheduler.after(0.0, self._look)

    def _look(self) -> None:
        if self._over:
            return
        self._scheduler.after(self._reader_chance.expovariate(1 / _MEAN_S), self._look)
        now_s, required = self._scheduler.now_s, self._ledger.acked_max
        self._acked_at.append((now_s, required))
        member = self._reader_chance.choice(list(self.members.values()))
        if member.node is None or member.paused:
            return
        if self._reader_chance.random() < 0.5:
            done = partial(self._followed, member, member.node, required)
            member.node.read_index(1.0, done, anywhere=True)
        else:
            self._read_bounded(member, member.node, self._reader_chance.choice(BOUNDS_S))

    def _followed(
        self, member: SimMember, asked: RaftNode, required: int, error: GfsError | None
    ) -> None:
        if member.node is asked and error is None:
            self.followed_count += not member.leading
            with member.disk.read() as reader:
                self._ledger.reads(member.name, required, reader)

    def _read_bounded(self, member: SimMember, node: RaftNode, bound_s: float) -> None:
        if not node.freshness.within(bound_s, node.now_s()):
            return
        self.bounded_count += not member.leading
        oldest_s = self._scheduler.now_s - bound_s * _RATE_ERROR
        required = max((acked for at_s, acked in self._acked_at if at_s <= oldest_s), default=0)
        with member.disk.read() as reader:
            self._ledger.reads(member.name, required, reader)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gfs_ha.sim.follower_reads", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=1)
    parser.add_argument("--break", dest="guard", choices=sorted(READ_GUARDS))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.CRITICAL)
    node_type = READ_GUARDS[options.guard] if options.guard else READING
    bad = followed = bounded = 0
    for seed in range(options.start, options.start + options.seeds):
        run = ReadingRun(seed, node_type)
        violation = run.run().violation
        followed, bounded = followed + run.followed_count, bounded + run.bounded_count
        if violation is not None:
            bad += 1
            print(f"seed {seed}: {violation}")
    print(
        f"{options.seeds} runs, {bad} with a violation; linearizable reads on followers {followed},"
        f" bounded ones {bounded}"
    )
    return int(bool(bad) == (options.guard is None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
