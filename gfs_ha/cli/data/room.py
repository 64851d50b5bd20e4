"""How many more bytes of files fit, with their copies on servers and racks by a rule (pure)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.rules import HDFS, SPREAD
from gfs_ha.protocol.reports import ServerRow

LIVE = "live"


def room_bytes(server: ServerRow) -> int:
    """Return what a server may still take below its high-water mark; nothing if it is not live."""
    if server.state != LIVE:
        return 0
    used = server.total_bytes - server.free_bytes
    return max(0, min(server.free_bytes, int(server.total_bytes * HIGH_WATER) - used))


def fitting_bytes(servers: Sequence[ServerRow], goal: int, rule: str) -> int:
    """Return how many bytes of files fit with so many copies of each, lying by a rule.

    No server (no machine, if there are enough of them) has two copies of a byte, no rack more than
    the rule allows. So N bytes fit if each server takes at most N of them, each rack at most that
    many times N, and all together goal times N; the most such N is looked for.
    """
    live = [one for one in servers if one.state == LIVE]
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

    Two disks of one size are hardly ever as full by chance, but when they are empty.
    """
    groups: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for one in servers:
        used = one.total_bytes - one.free_bytes
        if used > 64 << 20:
            alike = min(8 << 20, one.total_bytes >> 12)
            groups[one.machine, one.total_bytes, round(used / alike)].append(one.name)
    return next((sorted(names) for names in groups.values() if len(names) > 1), [])
