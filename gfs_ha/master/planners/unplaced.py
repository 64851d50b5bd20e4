"""Copies that no server can take, however long one waits, and what a person can do about that.

A server that is silent for a short time, in maintenance or not heard yet may take one later; one
that is dead, out of service, full or without a disk does not, by itself.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from shlex import quote

from gfs_ha.ids import ServerId
from gfs_ha.master.observed import DEAD
from gfs_ha.master.placement import HIGH_WATER, Candidate
from gfs_ha.master.planners.queue import RepairQueue
from gfs_ha.master.planners.scene import Scene
from gfs_ha.protocol.repair import UnplacedRow
from gfs_ha.protocol.server_modes import DRAINED, IN_SERVICE, LEAVING

_NAMED_MAX = 3
_FILES_MAX = 3  # Of one command.


class Takers:
    """The servers that may take copies now or by themselves later, as of one moment."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._everyone = list(scene.candidates.values())
        self._able = [one for one in self._everyone if _able(one)]
        rooms = [one.free_bytes for one in self._able if not one.passing]
        self._least_room = min(rooms, default=0)
        self._places = {one.server_id: _place(one) for one in self._everyone}
        self._able_places = frozenset(self._places[one.server_id] for one in self._able)
        self._machines = frozenset(one.machine for one in self._everyone)

    def lacking(self, goal: int, length: int, kept: Set[ServerId]) -> int:
        """Return how many copies no server can take beside those that are there or come."""
        missing = goal - len(kept)
        if missing <= 0:
            return 0
        able, places = self._able, self._able_places
        if length > self._least_room:
            able = [one for one in able if one.passing or one.free_bytes >= length]
            places = frozenset(self._places[one.server_id] for one in able)
        if len(self._machines) < goal:  # Then copies may share a machine (placement.may_share).
            room = sum(one.server_id not in kept for one in able)
        else:
            room = len(places - {self._places.get(one, one) for one in kept})
        return max(0, missing - room)

    def possible(self, goal: int, length: int, kept: Set[ServerId]) -> int:
        """Return how many copies there can be on servers that stay."""
        staying = {one for one in kept if not self._scene.roster.leaving(one)}
        return max(1, goal - self.lacking(goal, length, staying))

    def helpers(self, kept: Set[ServerId]) -> Set[ServerId]:
        """Return the servers that would take a copy if they were back, in service or had room."""
        return {one.server_id for one in self._everyone} - kept

    def way(self, helpers: Set[ServerId]) -> str:
        """Return what would give copies a server, with the commands."""
        roster, states = self._scene.roster, self._scene.repair.states
        some = [one for one in self._everyone if one.server_id in helpers]
        modes = {one.server_id: roster.mode(one.server_id).mode for one in some}
        out = [one for one in some if modes[one.server_id] in (*LEAVING, DRAINED)]
        serving = [one for one in some if modes[one.server_id] == IN_SERVICE and not _able(one)]
        dead = [one for one in serving if states.get(one.server_id) == DEAD]
        full = [one for one in serving if not one.trouble]
        ways = ["add a server"]
        if dead:
            ways.append(f"bring back {_names(dead)}")
        if out:
            undrain = f"gfsctl admin chunkservers undrain {out[0].name}"
            ways.append(f"take {out[0].name} back into service: {undrain}")
        if full:
            ways.append(f"make room on {_names(full)}")
        return ", or ".join(ways)


def unplaced_rows(queue: RepairQueue) -> tuple[UnplacedRow, ...]:
    """Return the first chunks that want more copies than servers can hold."""
    paths = queue.paths.found
    return tuple(
        UnplacedRow(one.chunk_id, paths.get(one.chunk_id, ""), one.goal, one.possible, one.length)
        for one in queue.newest.unplaced
    )


def ways_out(queue: RepairQueue) -> tuple[str, ...]:
    """Return what a person can do about copies that no server can take; empty: there are none."""
    found = queue.newest
    if not found.unplaced_chunks:
        return ()
    return found.way, f"want fewer copies: {fewer_command(unplaced_rows(queue))}"


def fewer_command(rows: Sequence[UnplacedRow]) -> str:
    """Return the command by which the first files of some want as many copies as there can be."""
    files: dict[int, dict[str, None]] = {}
    for row in rows:
        if row.path:
            files.setdefault(row.possible, {})[row.path] = None
    if not files:
        return f"gfsctl setrep {rows[0].possible if rows else 'N'} FILE (gfsctl find / --under)"
    possible, paths = max(files.items(), key=lambda one: len(one[1]))
    named = " ".join(quote(path) for path in list(paths)[:_FILES_MAX])
    more = sum(map(len, files.values())) > min(len(paths), _FILES_MAX)
    others = " (others: gfsctl find / --under)" if more else ""
    return f"gfsctl setrep {possible} {named}{others}"


def _able(one: Candidate) -> bool:
    return one.passing or (not one.trouble and one.used_share < HIGH_WATER)


def _place(one: Candidate) -> str | ServerId:
    """Return what two copies do not share where there are machines enough."""
    return one.machine or one.server_id


def _names(some: Sequence[Candidate]) -> str:
    names = sorted(one.name for one in some)
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more
