"""A seeded fuzzer of the consensus room: several real members in one process, in virtual time.

    python -m gfs_ha.sim.consensus --seeds 200 [--start 1] [--break GUARD] [--members 3]

Ends with exit status 0 when no run broke a promise, 1 when one did. With `--break` the guard is
missing, and the status is 0 when some run did show the hole.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import Counter

import msgspec

from gfs_ha.errors import GfsError
from gfs_ha.master.raft.contract import Outcome, RaftConfig
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.sim.changes import MemberChanges
from gfs_ha.sim.checkers import STATE, Ledger, Violation
from gfs_ha.sim.faults import Faults
from gfs_ha.sim.guards import GUARDS, SimNode
from gfs_ha.sim.member import SimMember
from gfs_ha.sim.network import Network
from gfs_ha.sim.scheduler import Scheduler

RUN_S = 6.0
QUIET_S = 4.0


class RunReport(msgspec.Struct):
    """What one run did."""

    seed: int
    violation: str | None
    acked: int
    reads: int
    terms: int
    events: int
    changes: int


class Run:
    """One seed: a cluster, a workload, faults, and the end where all must agree."""

    def __init__(self, seed: int, member_count: int, node_type: type[RaftNode]) -> None:
        self._chance = random.Random(seed)
        self._scheduler = Scheduler()
        self._network = Network(self._scheduler, self._chance)
        self._ledger = Ledger()
        self._payloads = 0
        self._mean_s = self._chance.choice([0.004, 0.015, 0.05])
        # A member that missed no write can be elected, so quiet runs test the lease.
        self._write_share = self._chance.choice([0.6, 0.6, 0.02])
        timeout_max_s = self._chance.choice([0.31, 0.6])  # Close ones make elections collide.
        addresses = {f"m{number}": (f"m{number}", 1) for number in range(1, member_count + 1)}
        log_bytes_max = self._chance.choice([1500, 1 << 30])  # A short one calls for snapshots.
        spares = self._chance.choice([0, 0, 2])
        numbers = range(member_count + 1, member_count + spares + 1)
        everybody = addresses | {f"m{number}": (f"m{number}", 1) for number in numbers}
        self.members = {
            name: SimMember(
                RaftConfig(
                    "sim",
                    1,
                    name,
                    addresses | {name: own},
                    timeout_max_s=timeout_max_s,
                    log_bytes_max=log_bytes_max,
                    state_databases=(STATE.database,),
                ),
                self._network,
                self._chance,
                self._ledger,
                node_type,
                spare=name not in addresses,
            )
            for name, own in everybody.items()
        }
        self._spares = spares
        self._changes = MemberChanges(self.members, everybody, self._scheduler, self._chance)
        rate = self._chance.choice([0.7, 1.5, 3.0])
        self._faults = Faults(self.members, self._network, self._chance, rate)
        self._seed = seed
        self._over = False

    def run(self) -> RunReport:
        """Run to the end; a broken promise is in the report."""
        violation = None
        try:
            for member in self.members.values():
                member.start()
            self._scheduler.after(0.0, self._work)
            self._faults.begin()
            if self._spares:
                self._changes.begin()
            end_s = self._scheduler.now_s + RUN_S
            self._scheduler.run_until(end_s)
            self._over = True
            self._faults.stop()
            self._changes.stop()
            self._scheduler.run_until(end_s + QUIET_S)
            self._check_end()
        except Violation as error:
            violation = str(error)
        ledger = self._ledger
        return RunReport(
            seed=self._seed,
            violation=violation,
            acked=len(ledger.acked),
            reads=ledger.read_count,
            terms=ledger.term_count,
            events=self._scheduler.event_count,
            changes=self._changes.done_count,
        )

    def _work(self) -> None:
        if self._over:
            return
        members = list(self.members.values())
        leading = [member for member in members if member.leading]
        if len({member.term for member in leading}) > 1:
            # Two believe that they lead: write to the newer one and read from the older, often.
            self._scheduler.after(self._chance.expovariate(1 / 0.0005), self._work)
            leading.sort(key=lambda member: member.term)
            self._propose(leading[-1])
            self._read(leading[0])
            return
        self._scheduler.after(self._chance.expovariate(1 / self._mean_s), self._work)
        likely = leading if leading and self._chance.random() < 0.9 else members
        member = self._chance.choice(likely)
        if self._chance.random() < self._write_share:
            self._propose(member)
        else:
            self._read(member)

    def _propose(self, member: SimMember) -> None:
        self._payloads += 1
        payload = b"%d" % self._payloads
        asked = member.node

        def done(outcome: Outcome) -> None:
            if member.node is asked and outcome.error is None:
                self._ledger.acks(payload, outcome)

        member.ask(lambda node: node.propose(payload, 1.0, done))

    def _read(self, member: SimMember) -> None:
        asked = member.node
        required = self._ledger.acked_max

        def done(error: GfsError | None) -> None:
            if member.node is asked and error is None:
                with member.disk.read() as reader:
                    self._ledger.reads(member.name, required, reader)

        if asked is not None and not member.paused and asked.reads_now():
            done(None)
        else:
            member.ask(lambda node: node.read_index(1.0, done))

    def _check_end(self) -> None:
        leaders = [member for member in self.members.values() if member.leading]
        if not leaders:
            raise Violation("no leader: nothing is broken any more, and nobody leads")
        newest = max(leaders, key=lambda member: member.term)
        belonging = [self.members[name] for name in newest.configuration.members]
        positions = {}
        for member in belonging:
            assert member.node is not None
            with member.disk.read() as reader:
                positions[member.name] = stored_applied(reader)
        if len(set(positions.values())) != 1:
            raise Violation(f"no agreement: the members applied up to {positions}")
        for member in belonging:
            with member.disk.read() as reader:
                self._ledger.survives(member.name, reader)


def fuzz(
    seeds: range, guard: str | None = None, member_count: int | None = None
) -> list[RunReport]:
    """Run every seed; odd ones with three members, even ones with five, unless told otherwise."""
    node_type: type[RaftNode] = SimNode if guard is None else GUARDS[guard]
    reports = []
    for seed in seeds:
        count = member_count or (3 if seed % 4 else 5)
        reports.append(Run(seed, count, node_type).run())
    return reports


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gfs_ha.sim.consensus", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=1)
    parser.add_argument("--members", type=int, choices=(1, 3, 5))
    parser.add_argument("--break", dest="guard", choices=sorted(GUARDS))
    parser.add_argument("--verbose", action="store_true", help="show the members' log lines")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL)
    seeds = range(options.start, options.start + options.seeds)
    reports = fuzz(seeds, options.guard, options.members)
    bad = [report for report in reports if report.violation is not None]
    kinds = Counter(str(report.violation).split(":")[0] for report in bad)
    total = msgspec.structs.asdict(reports[0])
    for name in ("acked", "reads", "terms", "events", "changes"):
        total[name] = sum(getattr(report, name) for report in reports)
    for report in bad[:5]:
        print(f"seed {report.seed}: {report.violation}")
    print(
        f"{len(reports)} runs, {len(bad)} with a violation {dict(kinds)}; acked {total['acked']},"
        f" reads {total['reads']}, terms that led {total['terms']}, changes of members"
        f" {total['changes']}, events {total['events']}"
    )
    return int(bool(bad) == (options.guard is None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
