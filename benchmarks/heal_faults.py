"""The faults of `make heal`: what is done to the cluster, and what it is to come back to."""

from __future__ import annotations

import shutil
import signal
import time

from heal_ward import HEAL_S, Fault, Healed, Ward

from gfs_ha.chunk.slots.format import DATA_OFFSET

APART = "cs8"  # The server that has a host of its own, where there are hosts.
CUT_S = 40.0
_START_S = 30.0


def kill_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver is killed and stays away until all is whole; then it comes back."""
    begun_s = time.monotonic()
    ward.watch.expect("cs3")
    ward.kill("cs3")
    ward.detected(healed, begun_s, "cs3")
    ward.whole(healed, begun_s)
    ward.start("cs3")


def kill_rack(ward: Ward, healed: Healed) -> None:
    """A whole rack is killed and stays away until all is whole; then it comes back."""
    begun_s = time.monotonic()
    names = ward.rack("r2")
    ward.watch.expect(*names)
    ward.kill(*names)
    ward.detected(healed, begun_s, *names)
    ward.whole(healed, begun_s)
    ward.start(*names)


def wipe_disk(ward: Ward, healed: Healed) -> None:
    """A chunkserver comes back with an empty disk."""
    begun_s = time.monotonic()
    ward.watch.expect("cs5")
    ward.kill("cs5")
    shutil.rmtree(ward.directory / "cs5" / "data")
    ward.start("cs5")
    at_s = ward.watch.wait(lambda now: now.under > 0, _START_S)
    if at_s is None:
        healed.wrong.append("wipe: the loss of a disk was not seen")
    else:
        healed.detect_s = at_s - begun_s
    ward.whole(healed, begun_s)


def flip_bytes(ward: Ward, healed: Healed) -> None:
    """One byte is flipped in each of twelve slots of a chunkserver; readers meet them."""
    begun_s = time.monotonic()
    slots = sorted((ward.directory / "cs7" / "data").glob("*.slot"))
    flipped = 0
    for slot in ward.chance.sample(slots, len(slots)):
        if flipped == 12 or slot.stat().st_size < DATA_OFFSET + 70_000:
            continue
        with slot.open("r+b") as file:
            file.seek(DATA_OFFSET + 50_000)
            byte = file.read(1)
            file.seek(DATA_OFFSET + 50_000)
            file.write(bytes([byte[0] ^ 0x10]))
        flipped += 1
    ward.read_near("cs7")
    at_s = ward.watch.wait(lambda now: bool(ward.watch.lacked()), _START_S)
    if at_s is None:
        healed.wrong.append("flip: nobody met the flipped bytes")
    else:
        healed.detect_s = at_s - begun_s
        ward.on_detected()
    ward.whole(healed, begun_s)


def freeze_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver stands still (SIGSTOP) until all is whole without it; then it goes on."""
    begun_s = time.monotonic()
    ward.watch.expect("cs4")
    ward.cluster.kill("cs4", signal.SIGSTOP)
    ward.detected(healed, begun_s, "cs4")
    ward.whole(healed, begun_s)
    ward.cluster.kill("cs4", signal.SIGCONT)


def flap_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver is killed and started again four times, each time away for a third of the
    silence that makes it dead: no copy is begun for its sake.
    """
    for _ in range(4):
        ward.kill("cs6")
        time.sleep(ward.dead_after_s / 3)
        ward.start("cs6")
        time.sleep(ward.dead_after_s / 6)


def kill_leader(ward: Ward, healed: Healed) -> None:
    """A chunkserver is killed, and the leader as soon as copies are under way."""
    begun_s = time.monotonic()
    ward.watch.expect("cs2")
    ward.kill("cs2")
    ward.detected(healed, begun_s, "cs2")
    begun = ward.watch.copies
    deadline_s = time.monotonic() + HEAL_S
    while not begun(begun_s + (healed.detect_s or 0.0)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    leader = ward.leader()
    ward.kill(leader)
    ward.whole(healed, begun_s)
    ward.start(leader, "cs2")


def restart_all(ward: Ward, healed: Healed) -> None:
    """Every process is killed at once and started again: nothing is copied for that."""
    begun_s = time.monotonic()
    ward.kill(*(one.name for one in ward.cluster.status()))
    ward.cluster.up()
    ward.whole(healed, begun_s)


def cut_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver is cut from its peers and all clients, but not from the masters."""
    _cut(ward, healed, both_ways=True)


def mute_server(ward: Ward, healed: Healed) -> None:
    """What a chunkserver sends to its peers and clients is lost; what they send arrives."""
    _cut(ward, healed, both_ways=False)


def _cut(ward: Ward, healed: Healed, both_ways: bool) -> None:
    assert ward.hosts is not None, "there are no hosts"
    mend = ward.hosts.cut(both_ways)
    time.sleep(CUT_S)
    mend()


FAULTS: dict[str, Fault] = {
    "server": kill_server,
    "rack": kill_rack,
    "wipe": wipe_disk,
    "flip": flip_bytes,
    "freeze": freeze_server,
    "flap": flap_server,
    "leader": kill_leader,
    "cut": cut_server,
    "mute": mute_server,
    "restart": restart_all,
}
ON_HOSTS = ("cut", "mute")
