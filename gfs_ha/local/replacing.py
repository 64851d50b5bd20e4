"""Has a running cluster take a new master for an old one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gfs_ha import config, connect
from gfs_ha.local import launcher
from gfs_ha.local.layout import Layout, Member
from gfs_ha.runtime import Runtime


def replaced(
    client_config: Path, old: str, new: Member, runtime: Runtime, timeout_s: float
) -> Iterator[str]:
    """Yield the steps of it. What an earlier call has done already is not done again."""
    address = config.load(new.home.config_path).cluster.master(new.name)
    assert address is not None, "a master's own file names it"
    with connect(client_config, timeout_s=timeout_s) as fs:
        members = fs.operations.members(runtime, timeout_s)
        votes = {row.name: row.voter for row in fs.operations.masters().items}
        if old in votes:
            yield from members.replace(old, address)
        elif not votes.get(new.name, False):
            # The old one is out already, by an earlier call or a recovery from one copy.
            yield from members.add(address)


def forget(layout: Layout, old: str, runtime: Runtime, grace_s: float) -> None:
    """Remove what is left of a master whose replacement was broken off at its very end."""
    homes = [home for home in layout.homes() if home.name == old]
    launcher.end_all(homes, runtime, grace_s)
    for home in homes:
        home.discard()
