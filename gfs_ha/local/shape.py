"""What a local cluster consists of: compared with what is asked for, and grown by chunkservers."""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfs_ha.errors import PreconditionFailed, UsageError
from gfs_ha.limits import MIB
from gfs_ha.local.home import CHUNKSERVER
from gfs_ha.local.layout import Member, Newcomer, Plan


def check_shape(directory: Path, have: Plan, given: Mapping[str, object]) -> None:
    """Raises: UsageError when a cluster is another one than what is asked for."""
    named = shlex.quote(str(directory))
    for key, value in given.items():
        if value == (is_so := getattr(have, key)):
            continue
        where = f"the cluster in {directory} has {_option(key, is_so)}, not {_option(key, value)}"
        if key == "chunkservers" and isinstance(value, int) and value > is_so:
            more = value - is_so
            raise UsageError(f"{where}; `gfsctl local add --servers {more} --dir {named}`")
        raise UsageError(f"{where}; `gfsctl local down --wipe --dir {named}` removes it")


def _option(key: str, value: object) -> str:
    """Return how a person asks for that."""
    if key == "closed":
        return "--tls" if value else "--no-tls"
    if isinstance(value, tuple):
        said = ",".join(_size(one) if key == "capacities" else str(one) for one in value)
    else:
        said = _size(value) if key == "chunk_bytes" else str(value)
    named = {"chunk_bytes": "chunk-size", "capacities": "capacity"}.get(key, key)
    return f"--{named} {said}"


def _size(value: object) -> str:
    assert isinstance(value, int), value
    return f"{value // MIB}MiB" if value and not value % MIB else str(value)


def check_majority(directory: Path, masters: Sequence[str], running: Container[str]) -> None:
    """Raises: PreconditionFailed when so few of the masters run that none of them can lead."""
    count = sum(name in running for name in masters)
    if count <= len(masters) // 2:
        raise PreconditionFailed(
            f"{count} of {len(masters)} masters run, so nobody takes a chunkserver in;"
            f" first `gfsctl local up --dir {shlex.quote(str(directory))}`"
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """Chunkservers that are to be added. None means: as those that are there."""

    servers: int = 1
    rack: str | None = None  # Of all; else each goes to the rack where the fewest run.
    capacity: int | None = None  # Of each disk; 0: all of it.
    disks: int | None = None  # Data directories of each.

    def newcomers(
        self, have: Plan, members: Sequence[Member], running: Container[str]
    ) -> tuple[Newcomer, ...]:
        """Return them by name; numbers go up. Raises: UsageError for what cannot be.

        Who does not run may have been taken out of the cluster: it is in no rack's way.
        """
        if self.servers < 1:
            raise UsageError(f"--servers {self.servers}: add at least 1 chunkserver")
        there = [member for member in members if member.role == CHUNKSERVER]
        count = len(there)
        racks = have.racks or Plan().racks
        grown = Plan(
            chunkservers=count + self.servers,
            racks=racks if self.rack is None else (self.rack,),
            chunk_bytes=have.chunk_bytes,
            capacities=have.capacities if self.capacity is None else (self.capacity,),
            disks=have.disks if self.disks is None else self.disks,
        )
        grown.check()
        used = [member.rack for member in there if member.name in running]
        first = max((int(member.name.removeprefix("cs")) for member in there), default=0) + 1
        found = []
        for index in range(self.servers):
            rack = min(grown.racks, key=used.count)
            used.append(rack)
            capacity = grown.capacities[(count + index) % len(grown.capacities)]
            found.append(Newcomer(f"cs{first + index}", rack, capacity, grown.disks))
        return tuple(found)
