"""Random work under random faults against a plain model: no error is seen, nothing is wrong."""

from __future__ import annotations

import io
import random

import pytest
from little_cluster import LittleCluster, lost

from gfs_ha.errors import AlreadyExists, GfsError, NotFound
from gfs_ha.limits import MIB

NAMES = [f"/{name}" for name in "abcdef"]


class Fuzz:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.little = LittleCluster(server_count=5, timeout_s=20.0)
        self.files: dict[str, bytes] = {}

    def run(self, steps: int) -> None:
        try:
            for _ in range(steps):
                self.disturb()
                getattr(self, self.chance.choice(STEPS))()
            self.little.plane.dead.clear()
            self.little.plane.flipping.clear()
            for name in NAMES:
                self.check(name)
            assert {f"/{entry.name}" for entry in self.little.client.listdir("/")} == set(
                self.files
            )
        finally:
            self.little.close()

    def disturb(self) -> None:
        """One server is in trouble at a time (some chunks have two copies); masters come and go."""
        little, chance = self.little, self.chance
        servers = [place.server_id for place in little.masters.locations()]
        kind = chance.randrange(8)
        if kind == 0:
            little.masters.after.extend(self.losses())
        elif kind == 1:
            little.masters.before.extend(self.losses())
        elif kind == 2:
            little.masters.leader = chance.choice(("m1", "m2", "m3"))
            little.masters.term += 1
            little.masters.down = {chance.choice(("m1", "m2", "m3"))} - {little.masters.leader}
        elif kind <= 6:
            little.plane.dead, little.plane.flipping, little.plane.dies_in_push = set(), set(), {}
            if kind == 3:
                little.plane.dead = {chance.choice(servers)}
            elif kind == 4:
                little.plane.dies_in_push = {chance.choice(servers): chance.choice((0, 999, MIB))}
            elif kind == 5:
                little.plane.flipping = {chance.choice(servers)}

    def losses(self) -> list[object]:
        return [
            lost if self.chance.random() < 0.5 else (lambda name, asked: None)
            for _ in range(self.chance.randrange(1, 4))
        ]

    def data(self) -> bytes:
        size = self.chance.choice((0, 1, 5000, 100_000, 600_000, MIB, 2 * MIB + 7))
        return self.chance.randbytes(size)

    def write(self) -> None:
        name, data = self.chance.choice(NAMES), self.data()
        self.little.client.write_bytes(name, data)
        self.files[name] = data

    def put(self) -> None:
        name, data = self.chance.choice(NAMES), self.data()
        if_absent = self.chance.random() < 0.3
        try:
            self.little.client.put(io.BytesIO(data), name, if_absent=if_absent)
            assert not (if_absent and name in self.files)
            self.files[name] = data
        except AlreadyExists:
            assert if_absent and name in self.files

    def rename(self) -> None:
        source, target = self.chance.sample(NAMES, 2)
        try:
            self.little.client.rename(source, target)
            self.files[target] = self.files.pop(source)
        except NotFound:
            assert source not in self.files

    def remove(self) -> None:
        name = self.chance.choice(NAMES)
        try:
            self.little.client.remove(name)
            del self.files[name]
        except NotFound:
            assert name not in self.files

    def read(self) -> None:
        self.check(self.chance.choice(NAMES))

    def seek(self) -> None:
        name = self.chance.choice(NAMES)
        if name not in self.files:
            return
        with self.little.client.open(name) as file:
            for _ in range(3):
                at = self.chance.randrange(len(self.files[name]) + 1)
                file.seek(at)
                assert file.read(10_000) == self.files[name][at : at + 10_000]

    def check(self, name: str) -> None:
        try:
            found: bytes | None = self.little.client.read_bytes(name)
        except NotFound:
            found = None
        assert found == self.files.get(name)


STEPS = ("write", "write", "put", "rename", "remove", "read", "seek")


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_wrong_after_random_faults(seed: int) -> None:
    try:
        Fuzz(seed).run(40)
    except GfsError as error:
        raise AssertionError(f"the client saw an error: {error!r}") from error
