"""Random commands about jobs, mostly such as fit what is there."""

from __future__ import annotations

import random

from state_driver import Driver

from gfs_ha.master.state.commands import Command, PlaceCopy
from gfs_ha.master.state.job_commands import NoteJob, SetJobPhase, StartJob
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.protocol import jobs
from gfs_ha.protocol.jobs import JobOptions

_PHASES = (jobs.RUNNING, jobs.PAUSED, *jobs.FINAL, "tired")


def job_change(chance: random.Random, driver: Driver, servers: int) -> Command:
    """Return the start of a job, or a change of one, or a move for one."""
    with driver.view() as view:
        running = list(running_jobs(view))
        sealed = [one for one in view.chunks_after(0, 200) if one[1].state == "sealed"]
    if not running or chance.random() < 0.2:
        kind = chance.choice(tuple(jobs.LETTERS))
        server_id = 0 if kind == jobs.REBALANCE else chance.randint(1, servers)
        disk_id = 100 + server_id if kind == jobs.DISK_DRAIN else 0
        options = JobOptions(chance.choice((0.05, 0.05, 2.0)), chance.choice((0, 9)))
        return StartJob(kind, options, server_id, disk_id, chance.randint(-1, 99), 3, "fuzz")
    number, job = chance.choice(running)
    if sealed and chance.random() < 0.5:
        chunk_id, chunk = chance.choice(sealed)
        other, seen = chance.randint(1, servers), len(chunk.holders) + len(chunk.copying)
        leaves = chance.choice(chunk.holders)
        moved = (chunk_id, chunk.sealed_index, other, 100 + other, seen)
        return PlaceCopy(*moved, job=number, leaves=leaves)
    if chance.random() < 0.3:
        return NoteJob(number, "fuzz", chance.random() < 0.5, (chance.randint(-1, 9), -1))
    seen_phase = job.phase if chance.random() < 0.9 else chance.choice(_PHASES)
    return SetJobPhase(number, seen_phase, chance.choice(_PHASES), chance.choice(("", "fuzz")))
