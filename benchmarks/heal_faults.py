"""The faults of `make heal`: what is done to the cluster, and what it is to come back to."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import heal_cut
from heal_figures import Healed
from heal_ward import HEAL_S, Fault, Ward

from gfs_ha.chunk.slots.format import (
    COPY_BYTES,
    DATA_OFFSET,
    HEADER_BYTES,
    State,
    decode_copy,
    weigh,
)

FLIPS = 12
_START_S = 30.0


def kill_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver is killed and stays away until all is whole; then it comes back."""
    begun_s = time.monotonic()
    ward.lose("cs3")
    ward.detected(healed, begun_s, "cs3")
    ward.whole(healed, begun_s)
    ward.start("cs3")


def kill_rack(ward: Ward, healed: Healed) -> None:
    """A whole rack is killed and stays away until all is whole; then it comes back."""
    begun_s = time.monotonic()
    names = ward.rack("r2")
    ward.lose(*names)
    ward.detected(healed, begun_s, *names)
    ward.whole(healed, begun_s)
    ward.start(*names)


def wipe_disk(ward: Ward, healed: Healed) -> None:
    """A chunkserver comes back with an empty disk."""
    begun_s = time.monotonic()
    ward.lose("cs5")
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
    flipped: list[int] = []
    for slot in ward.chance.sample(slots, len(slots)):
        chunk_id = _sealed_chunk(slot)
        if len(flipped) < FLIPS and chunk_id and slot.stat().st_size >= DATA_OFFSET + 70_000:
            _flip(slot)
            flipped.append(chunk_id)
            ward.watch.rotted(chunk_id)
    ward.read_near("cs7")
    ward.watch.wait(lambda now: bool(ward.watch.lacked()), _START_S)
    if ward.watch.lacked_since_s is None:
        healed.wrong.append("flip: nobody met the flipped bytes")
    else:
        healed.detect_s = ward.watch.lacked_since_s - begun_s
        ward.on_detected()
    # Readers took other copies of some: whoever has these compared finds the rest.
    for chunk_id in flipped:
        ward.compare(chunk_id)
    healed.facts["flipped"] = len(flipped)
    ward.whole(healed, begun_s)


def _sealed_chunk(slot: Path) -> int:
    """Return the sealed chunk that a slot is of, by the newer copy of its header; 0: of none."""
    try:
        with slot.open("rb") as file:
            data = memoryview(file.read(HEADER_BYTES).ljust(HEADER_BYTES, b"\0"))
    except FileNotFoundError:
        return 0
    found = weigh(decode_copy(data[:COPY_BYTES]), decode_copy(data[COPY_BYTES:]))
    return 0 if found is None or found.header.state is not State.SEALED else found.header.chunk_id


def _flip(slot: Path) -> None:
    """Flip one byte of the first block of a slot's data."""
    with slot.open("r+b") as file:
        file.seek(DATA_OFFSET + 50_000)
        byte = file.read(1)
        file.seek(DATA_OFFSET + 50_000)
        file.write(bytes([byte[0] ^ 0x10]))


def freeze_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver stands still (SIGSTOP) until all is whole without it; then it goes on."""
    begun_s = time.monotonic()
    ward.watch.expect("cs4")
    ward.cluster.kill("cs4", signal.SIGSTOP)
    ward.detected(healed, begun_s, "cs4")
    ward.whole(healed, begun_s)
    ward.watch.expect()
    ward.cluster.kill("cs4", signal.SIGCONT)


def flap_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver comes and goes four times, always back before it is dead: nothing is copied."""
    begun_s, whole, held = time.monotonic(), ward.whole_before(), ward.watch.held("cs6")
    longest_s = 0.0
    for _ in range(4):
        away_s = time.monotonic()
        ward.kill("cs6")
        time.sleep(ward.dead_after_s / 3)
        ward.start("cs6")
        ward.watch.wait(lambda now: now.states.get("cs6") == "live", ward.dead_after_s)
        longest_s = max(longest_s, time.monotonic() - away_s)
        time.sleep(ward.dead_after_s / 6)
    _rest(ward)
    healed.facts["away at most s"] = round(longest_s, 1)
    if longest_s < ward.dead_after_s:
        ward.untouched(healed, whole, begun_s)
    else:
        ward.watch.missed(held)  # It starts too slowly here: it was dead for a moment, rightly.


def kill_leader(ward: Ward, healed: Healed) -> None:
    """A chunkserver is killed, and the leader as soon as copies are under way."""
    begun_s = time.monotonic()
    ward.lose("cs2")
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
    """Every process is killed at once and started again: nothing that was whole is copied."""
    begun_s, whole = time.monotonic(), ward.whole_before()
    ward.kill(*(one.name for one in ward.cluster.status()))
    ward.cluster.up()
    ward.whole(healed, begun_s)
    _rest(ward)
    ward.untouched(healed, whole, begun_s)


def _rest(ward: Ward) -> None:
    """Wait until nothing is under way; whoever measures the fault says if it never comes."""
    ward.watch.wait(lambda now: now.rested and now.healthy, HEAL_S)


def cut_server(ward: Ward, healed: Healed) -> None:
    """A chunkserver is cut from its peers and all clients, but not from the masters."""
    heal_cut.cut(ward, healed, both_ways=True)


def mute_server(ward: Ward, healed: Healed) -> None:
    """What a chunkserver sends to its peers and clients is lost; what they send arrives."""
    heal_cut.cut(ward, healed, both_ways=False)


def cut_and_kill(ward: Ward, healed: Healed) -> None:
    """While one chunkserver is cut from its peers and clients, another one is killed."""
    heal_cut.cut(ward, healed, both_ways=True, victim="cs3")


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
    "cut-kill": cut_and_kill,
    "restart": restart_all,
}
ON_HOSTS = ("cut", "mute", "cut-kill")
