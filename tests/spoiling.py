"""Good bytes made bad, and bytes cut as a network may, by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Parse = Callable[[bytes], object]

INTERESTING = (0, 1, 2, 0x0A, 0x7F, 0x80, 0x90, 0xC4, 0xDC, 0xDD, 0xFE, 0xFF)


def changed(chance: random.Random, data: bytes) -> bytes:
    """Return bytes that were good once."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(7):
            case 0:
                found[at : at + 1] = bytes([chance.choice(INTERESTING)])
            case 1:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                del found[at : at + chance.choice((1, 2, 4, 64))]
            case 3:
                found[at:at] = chance.randbytes(chance.choice((1, 2, 4, 64)))
            case 4:
                size = chance.choice((1, 2, 4, 8))
                found[at : at + size] = chance.choice((0, (1 << 8 * size) - 1)).to_bytes(
                    size, "big"
                )
            case 5:
                found[at:at] = bytes(found[at : at + chance.randrange(1, 300)])
            case 6:
                found = found[:at] + bytearray(chance.randbytes(chance.randrange(200)))
    return bytes(found)


def spoil(
    seed: int, good: list[bytes], parse: Parse, *own: type[Exception], rounds: int = 250
) -> int:
    """Parse changed bytes; return how many were taken. Anything but `own` goes through."""
    chance = random.Random(seed)
    taken = 0
    for data in good:
        parse(data)
    for _ in range(rounds):
        try:
            parse(changed(chance, chance.choice(good)))
        except own:
            continue
        taken += 1
    return taken


def pieces(chance: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut bytes as a network may."""
    at = 0
    while at < len(data):
        size = chance.choice((1, 2, 5, 100, 5000, len(data)))
        yield data[at : at + size]
        at += size
