"""Who belongs to the cluster of masters, what a majority of them is, and how that may change (M5).

A configuration is in force from its append to the log, committed or not, and goes when its entry is
truncated. One change moves one member by one step, so that any majority before it and any after it
have a member in common. All arithmetic of majorities is here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from gfs_ha.errors import (
    AlreadyExists,
    CorruptData,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
)
from gfs_ha.limits import RAFT_MEMBERS_MAX

Address = tuple[str, int]

MEMBERSHIP = b"\x02"  # PySyncObj's command type of a change of members.
_FORMAT = b"\x01"
NOWHERE: Address = ("", 0)


class Addresses(msgspec.Struct, frozen=True, array_like=True):
    """Where a member is reached: by the other members, and by everybody else."""

    raft: Address
    rpc: Address = NOWHERE


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """The members. A learner receives the log; it neither votes nor counts."""

    voters: dict[str, Addresses] = {}
    learners: dict[str, Addresses] = {}

    @property
    def members(self) -> dict[str, Addresses]:
        """Return voters and learners by name, in the order of their names."""
        return dict(sorted({**self.voters, **self.learners}.items()))

    def others_needed(self, own: str) -> int:
        """Return how many other voters make a majority together with this member.

        Who is no voter itself needs a whole majority of others, so that it is never alone.
        """
        majority = len(self.voters) // 2 + 1
        return majority - (own in self.voters)

    def agreed(self, own: str, names: Collection[str]) -> bool:
        """Return whether these members make a majority of the voters together with this one."""
        others = [name for name in self.voters if name != own and name in names]
        return len(others) >= self.others_needed(own)

    def reached(self, own: str, by_member: Mapping[str, int]) -> int:
        """Return the most that a majority has reached, if this member is beyond it itself."""
        others = sorted((by_member.get(n, 0) for n in self.voters if n != own), reverse=True)
        needed = self.others_needed(own)
        assert 0 < needed <= len(others), "a majority of one asks nobody"
        return others[needed - 1]


NOBODY = Configuration()


class Point(msgspec.Struct, frozen=True):
    """A place in the log, and the members that were in force there."""

    index: int
    term: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class AddLearner:
    """A new member on an empty disk begins to receive the log."""

    name: str
    addresses: Addresses

    def changed(self, now: Configuration) -> Configuration:
        """Return the next configuration. Raises: AlreadyExists, LimitExceeded."""
        if self.name in now.members:
            raise AlreadyExists(f"{self.name} is a master already")
        if len(now.members) >= RAFT_MEMBERS_MAX:
            raise LimitExceeded(f"there are {len(now.members)} masters already; remove one first")
        return Configuration(now.voters, {**now.learners, self.name: self.addresses})


@dataclass(frozen=True, slots=True)
class AdmitMember:
    """A learner that is caught up becomes a voter."""

    name: str

    def changed(self, now: Configuration) -> Configuration:
        """Return the next configuration. Raises: NotFound, AlreadyExists."""
        if self.name in now.voters:
            raise AlreadyExists(f"{self.name} votes already")
        if self.name not in now.learners:
            raise _unknown(self.name, now)
        voters = {**now.voters, self.name: now.learners[self.name]}
        return Configuration(voters, _without(now.learners, self.name))


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """A member leaves for good."""

    name: str

    def changed(self, now: Configuration) -> Configuration:
        """Return the next configuration. Raises: NotFound, PreconditionFailed."""
        if self.name not in now.members:
            raise _unknown(self.name, now)
        if set(now.voters) == {self.name}:
            raise PreconditionFailed(f"{self.name} is the only master that votes")
        return Configuration(_without(now.voters, self.name), _without(now.learners, self.name))


Change = AddLearner | AdmitMember | RemoveMember


def encode_configuration(configuration: Configuration) -> bytes:
    """Return the command that stands for a configuration in the log."""
    return MEMBERSHIP + _FORMAT + msgspec.msgpack.encode(configuration)


def decode_configuration(command: bytes) -> Configuration:
    """Return the configuration of a command of the log. Raises: CorruptData."""
    if command[1:2] != _FORMAT:
        raise CorruptData("a configuration of masters has a format that is not known here")
    try:
        return msgspec.msgpack.decode(command[2:], type=Configuration)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptData(f"a configuration of masters does not decode: {error}") from error


def _unknown(name: str, now: Configuration) -> NotFound:
    return NotFound(f"there is no master {name!r}; there are {', '.join(now.members) or 'none'}")


def _without(members: Mapping[str, Addresses], name: str) -> dict[str, Addresses]:
    return {each: where for each, where in members.items() if each != name}
