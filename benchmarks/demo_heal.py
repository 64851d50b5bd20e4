"""A cluster that heals by itself, told for somebody who sees it for the first time.

Run it with `make demo-heal`: at most five minutes, exit status 0 only if every claim below was
checked by this program. It needs nothing but this checkout, and leaves nothing behind.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import heal_ward
from demonstration import elapsed_s, run_demo, say
from heal_clients import RATES, Clients, verify
from heal_faults import FAULTS
from heal_figures import Healed
from heal_load import LOG_FILE, PUTS
from heal_ward import Ward
from heal_watch import Watch
from stage import Failed, Stage

import gfs_ha

DEAD_AFTER_S = 8.0  # Of silence; 30 s by default: we do not want to wait for so long here.
RACKS = ("r1", "r2", "r3", "r4")
CHUNK_BYTES = 4 << 20
BIG_FILES = 4
STORY = {
    "server": (
        "We kill one of the eight chunkservers, with kill -9, and do not start it again. A third "
        "copy of what it held is missing now. After some silence the leading master takes it for "
        "dead and has the missing copies made elsewhere.",
        ("admin", "repair", "status"),
    ),
    "rack": (
        "We kill a whole rack: two servers at once. Some chunks have one copy left, and these are "
        "copied first.",
        ("admin", "chunkservers", "ls"),
    ),
    "flip": (
        "We flip one byte in each of twelve files on the disk of a server, as failing disks do. A "
        "reader that meets one gets good bytes from another copy, and the bad copy is replaced.",
        ("admin", "health"),
    ),
    "leader": (
        "We kill a server again, and as soon as it is being repaired we kill the leading master, "
        "too. Another master takes over and goes on with the same plan.",
        ("admin", "masters", "ls"),
    ),
}


def _play(stage: Stage) -> str:
    ward = heal_ward.prepare(stage, RACKS, CHUNK_BYTES, DEAD_AFTER_S)
    config = stage.cluster.config_path
    say("3 masters and 8 chunkservers on 4 racks serve; every file is kept three times")
    heal_ward.fill(config, BIG_FILES)
    clients = Clients(stage.directory, config, RATES, stage.environment)
    healed: list[Healed] = []
    with clients, Watch(config, stage.cluster.directory) as watch:
        ward.watch, ward.clients = watch, clients
        clients.start()
        say(f"from now on clients put files to {PUTS}, get them back and compare every byte, and")
        say(f"append records to {LOG_FILE}; none of them may ever see an error")
        for name, (text, command) in STORY.items():
            healed.append(_act(stage, ward, name, (text, command)))
        wrong = clients.stop()
        say("a reader that knows nothing of the writers now reads everything")
        verified = verify(config, clients, stage.directory)
    wrong += verified.wrong
    if wrong:
        raise Failed(f"{len(wrong)} things are wrong, the first: {wrong[0]}")
    _await_health(config)
    _show(stage, "admin", "status")
    copied = sum(one.copied_bytes for one in healed) / 1e6
    return (
        f"PROVED in {elapsed_s():.0f} s: through the loss of a server, a rack, "
        f"twelve bytes and a leader in mid-repair the cluster healed itself "
        f"({sum(one.copies for one in healed)} copies, {copied:.0f} MB); "
        f"{verified.files:,} files and {verified.records:,} records are there, every byte and each "
        f"record once; no client saw an error"
    )


def _await_health(config: Path) -> None:
    """Wait for health: the last reader may have met flipped bytes that nobody had read before."""
    deadline_s = time.monotonic() + heal_ward.HEAL_S
    with gfs_ha.connect(config) as cluster:
        while not (report := cluster.operations.health()).healthy:
            if time.monotonic() > deadline_s:
                raise Failed(f"the cluster is not healthy: {report.items[0].message}")
            time.sleep(0.2)


def _act(stage: Stage, ward: Ward, name: str, story: tuple[str, tuple[str, ...]]) -> Healed:
    """Tell and do one fault. Raises: Failed unless all that was told of it holds."""
    text, command = story
    print(f"\n{text}\n", flush=True)
    assert name in FAULTS
    ward.on_detected = lambda: _show(stage, *command)
    healed = ward.play(name, FAULTS[name])
    if healed.wrong:
        raise Failed(healed.wrong[0])
    if healed.whole_s is None or healed.rested_s is None:
        raise Failed(f"{name}: it did not heal")
    if not healed.copies:
        raise Failed(f"{name}: nothing had to be copied, which proves nothing")
    noticed = f"noticed after {healed.detect_s:.1f} s, " if healed.detect_s is not None else ""
    say(
        f"{noticed}all copies there again {healed.whole_s:.1f} s after the fault: {healed.copies} "
        f"copies, {healed.copied_bytes / 1e6:.1f} MB; client errors: {len(healed.errors)}"
    )
    return healed


def _show(stage: Stage, *words: str) -> None:
    """Show a command and what it says; it may say that the cluster is not well just now."""
    child = stage.begin(*words)
    out, _ = child.communicate(timeout=60.0)
    print(f"$ gfsctl {' '.join(words)}\n{out.decode(errors='replace')}", flush=True)


if __name__ == "__main__":
    sys.exit(run_demo("demo-heal", _play, heal_ward.burying(DEAD_AFTER_S)))
