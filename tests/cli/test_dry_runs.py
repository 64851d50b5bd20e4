"""Every command of operators that changes the cluster can say beforehand what it would do."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gfs_ha.cli.shell import root

# These only look, wait, or work on nothing but their own output.
LOOKS = {
    *("bundle", "logs", "metrics", "trace"),
    *("chunks ls", "chunks show", "chunks verify", "chunkservers ls", "chunkservers show"),
    *("chunkservers ok-to-stop", "disks ls", "events", "fsck", "gc status", "health"),
    *("health detail", "jobs logs", "jobs ls", "jobs show", "jobs wait", "leases history"),
    *("leases ls", "leases show", "masters ls", "masters show", "masters verify-state"),
    *("placement explain", "placement show", "placement simulate", "rebalance history"),
    *("rebalance plan", "rebalance status", "repair queue", "repair status", "scrub found"),
    *("scrub status", "sim plans", "sim replay", "sim run", "status", "tls status", "top"),
}


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group that does something by itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}".strip()
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield words, command
        if isinstance(command, click.Group):
            yield from commands(command, words)


def test_what_changes_the_cluster_has_a_dry_run() -> None:
    tree = root()
    admin = tree.get_command(click.Context(tree), "admin")
    assert isinstance(admin, click.Group)
    known = dict(commands(admin))
    dry = {
        words
        for words, command in known.items()
        if any(parameter.name == "dry_run" for parameter in command.params)
    }
    assert set(known) - dry == LOOKS, "it looks, or it has -n"
    for words in dry:
        (option,) = [one for one in known[words].params if one.name == "dry_run"]
        assert option.opts == ["-n", "--dry-run"], words
