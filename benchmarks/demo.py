"""The main job on real input: everything in, through the loss of a leader and a server, and back.

Run it with `make demo`. It needs nothing but this checkout, and leaves nothing behind.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from demonstration import elapsed_s, run_demo, say
from probe import Probe
from sample import MIB, copy_standard_library, differences, write_random
from stage import Failed, Stage

BIG_BYTES = 512 * MIB
POLL_S = 0.01
MOMENT_S = 60.0  # Longest wait for the middle of a put.


def _play(stage: Stage) -> str:
    tree, big = stage.directory / "stdlib", stage.directory / "big.img"
    files, size = copy_standard_library(tree)
    write_random(big, BIG_BYTES)
    say(f"input: {files:,} files of the standard library ({size / MIB:.1f} MiB) and 512 MiB")
    stage.cluster.up(masters=3, chunkservers=4, racks=("r1", "r2"))
    say("3 masters and 4 chunkservers on 2 racks serve")
    terms_before = _terms(stage)

    with Probe(str(stage.cluster.config_path)) as probe:
        if not probe.wait_for_more(10, MOMENT_S):
            raise Failed(f"the probe could not create files: {probe.errors}")
        leader, killed_s = _lose_leader(stage, probe, tree, files)
        server = _lose_server(stage, probe, big)
        _get_back(stage, tree, big)
        probe.stop()
        gap_s = probe.gap_s(killed_s - 1, killed_s + 30)
        _check_probe(probe)

    print(stage.run("admin", "status"), end="")
    print(stage.run("admin", "placement", "show", "/big.img"), end="")
    new_terms = _check_terms(terms_before, _terms(stage))
    say(f"longest time between two of the probe's {probe.count:,} creates: {gap_s * 1000:.0f} ms")
    return (
        f"PROVED in {elapsed_s():.0f} s: {files:,} files ({size / MIB:.1f} MiB) "
        f"and one of 512 MiB came back equal in every byte, through SIGKILL of the leading master "
        f"{leader} amid the tree (gap {gap_s * 1000:.0f} ms, {new_terms} new leader) and of "
        f"chunkserver {server} amid the big file; no client saw an error"
    )


def _lose_leader(stage: Stage, probe: Probe, tree: Path, files: int) -> tuple[str, float]:
    """Put the tree, and kill the leading master in the middle of it."""
    before = probe.cluster.operations.status().file_count
    put = stage.begin("put", "-r", str(tree), "/stdlib")

    def half_there() -> bool:
        now = probe.cluster.operations.status().file_count
        return now - before - probe.count >= files // 4

    _wait_amid(put, half_there, "the tree")
    leader = probe.cluster.leader
    killed_s = time.monotonic()
    stage.cluster.kill(leader, signal.SIGKILL)
    _still_running(stage, put, "the tree")
    say(f"leading master {leader} killed (SIGKILL) in the middle of the tree")
    stage.end(put)
    say("the tree is put, without an error")
    return leader, killed_s


def _lose_server(stage: Stage, probe: Probe, big: Path) -> str:
    """Put the big file, and kill a chunkserver that is being written to."""
    old = {row.chunk_id for row in probe.cluster.operations.chunks()}
    put = stage.begin("put", str(big), "/big.img")
    victim = ""

    def being_written() -> bool:
        nonlocal victim
        rows = [row for row in probe.cluster.operations.chunks() if row.chunk_id not in old]
        open_rows = [row for row in rows if row.state == "open" and row.replicas]
        if len(rows) < 3 or not open_rows:
            return False
        victim = open_rows[0].replicas[-1].name
        return True

    _wait_amid(put, being_written, "the big file")
    stage.cluster.kill(victim, signal.SIGKILL)
    _still_running(stage, put, "the big file")
    say(f"chunkserver {victim} killed (SIGKILL) in the middle of the big file")
    stage.end(put)
    say("the big file is put, without an error")
    return victim


def _wait_amid(put: subprocess.Popen[bytes], there: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + MOMENT_S
    while not there():
        if put.poll() is not None:
            raise Failed(f"the put of {what} ended ({put.returncode}) before its middle was seen")
        if time.monotonic() >= deadline_s:
            raise Failed(f"the put of {what} did not come to its middle in {MOMENT_S:.0f} s")
        time.sleep(POLL_S)


def _still_running(stage: Stage, put: subprocess.Popen[bytes], what: str) -> None:
    if put.poll() is not None:
        stage.end(put)
        raise Failed(f"the put of {what} was over before the kill; it proves nothing")


def _get_back(stage: Stage, tree: Path, big: Path) -> None:
    """Get everything into another folder and compare every byte."""
    back = stage.directory / "back"
    back.mkdir()
    stage.run("get", "-r", "/stdlib", str(back / "stdlib"))
    stage.run("get", "/big.img", str(back / "big.img"))
    found = differences(tree, back / "stdlib") + differences(big, back / "big.img")
    if found:
        raise Failed(f"{len(found)} differences, the first: {'; '.join(found[:3])}")
    say("everything is back and equal: every name, byte, mode and time")


def _check_probe(probe: Probe) -> None:
    if probe.errors:
        raise Failed(f"{len(probe.errors)} creates failed, the first: {probe.errors[0]}")
    there = {entry.name for entry in probe.cluster.listdir("/probe")}
    lost = probe.names() - there
    if lost:
        raise Failed(f"{len(lost)} acknowledged creates are not there: {sorted(lost)[:3]}")


def _terms(stage: Stage) -> list[int]:
    report = json.loads(stage.run("admin", "masters", "ls", "-o", "json"))
    return [term["term"] for term in report["terms"]]


def _check_terms(before: list[int], after: list[int]) -> int:
    new = [term for term in after if term not in before]
    if len(new) != 1:
        raise Failed(f"{len(new)} new leaders (terms {new}), but one was killed")
    return len(new)


if __name__ == "__main__":
    sys.exit(run_demo("demo", _play))
