"""How many more bytes of files fit, with their copies on servers and racks by a rule (pure)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gfs_ha.limits import MIB
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.rules import HDFS, SPREAD
from gfs_ha.protocol.reports import DiskRow, ServerRow
from gfs_ha.protocol.server_modes import IN_SERVICE

LIVE = "live"
_ALIKE_BYTES = 256 * MIB


def standing(server: ServerRow) -> str:
    """Return how a server stands: live, or what keeps new copies from it."""
    if server.state != LIVE:
        return server.state
    if server.mode != IN_SERVICE:
        return server.mode
    if server.disk_counts.all_out:
        return "no disk in service"
    return "in maintenance" if server.maintenance_left_ms else LIVE


def room_bytes(server: ServerRow) -> int:
    """Return what a server may still take, each disk up to its high-water mark.

    Nothing if it is not live, is being emptied, or is in maintenance.
    """
    if standing(server) != LIVE:
        return 0
    disks = [(one.total_bytes, one.free_bytes) for one in server.disks if _serves(one)]
    whole = (server.total_bytes, server.free_bytes)
    return sum(_below_mark(*disk) for disk in (disks if server.disks else [whole]))


def _serves(disk: DiskRow) -> bool:
    return not disk.failed and disk.mode == IN_SERVICE


def _below_mark(total: int, free: int) -> int:
    return max(0, min(free, int(total * HIGH_WATER) - (total - free)))


def fitting_bytes(servers: Sequence[ServerRow], goal: int, rule: str) -> int:
    """Return how many bytes of files fit with so many copies of each, lying by a rule.

    No server (no machine, if there are enough of them) has two copies of a byte, no rack more than
    the rule allows. So N bytes fit if each server takes at most N of them, each rack at most that
    many times N, and all together goal times N; the most such N is looked for.
    """
    live = [one for one in servers if standing(one) == LIVE]
    if len(live) < goal:
        return 0
    racks = {one.rack for one in live}
    per_rack = copies_per_rack(rule, goal, len(racks))
    machines = {one.machine for one in live}
    rooms: dict[str, dict[str, int]] = {rack: defaultdict(int) for rack in racks}
    for one in live:
        shared = len(machines) < goal  # Then copies may share a machine.
        rooms[one.rack][one.name if shared else one.machine] += room_bytes(one)

    def fit(size: int) -> bool:
        taken = sum(
            min(per_rack * size, sum(min(room, size) for room in spots.values()))
            for spots in rooms.values()
        )
        return taken >= goal * size

    low, high = 0, sum(map(room_bytes, live)) // goal
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fit(middle) else (low, middle - 1)
    return low


def copies_per_rack(rule: str, goal: int, racks: int) -> int:
    """Return how many copies of a byte may lie in one rack, as far as there are racks."""
    if racks < 2:
        return goal
    alone = rule == SPREAD or (rule == HDFS and goal == 2)
    most = 1 if alone else 2
    return max(most, -(-goal // racks))


def sharing(servers: Sequence[ServerRow]) -> list[str]:
    """Return the names of servers that seem to lie on one disk, which each of them counts whole.

    Two disks of one size are hardly ever as full by chance, but when they are empty. A size of
    whole MiB is a server's capacity, as somebody gave it: that is its own.
    """
    groups: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
    for one in servers:
        used = one.total_bytes - one.free_bytes
        if used > 64 * MIB and one.total_bytes % MIB:
            groups[one.machine, one.total_bytes].append((used, one.name))
    for (_, total), members in groups.items():
        alike = min(_ALIKE_BYTES, total >> 12)  # They look at it at different moments.
        members.sort()
        for at, (used, _) in enumerate(members):
            found = [name for other, name in members[at:] if other - used <= alike]
            if len(found) > 1:
                return sorted(found)
    return []
