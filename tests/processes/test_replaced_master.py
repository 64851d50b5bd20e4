"""A dead master is replaced by a new one on an empty disk while a client works; nobody notices."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_ports
from killing import RUNTIME, leader_of, wait_until
from test_planned_restart import Creator

import gfs_ha
from gfs_ha import Cluster
from gfs_ha.config import MasterAddress
from gfs_ha.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NoLeader,
    NotFound,
    PreconditionFailed,
    Unreachable,
)
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.net.leader import REFRESH_S
from gfs_ha.protocol.reports import AddMaster

pytestmark = pytest.mark.processes


@pytest.fixture
def newcomer(local_cluster: LocalCluster, tmp_path: Path) -> Iterator[MasterAddress]:
    """m4, started on an empty directory, with the file of a master that knows the others."""
    port, raft_port, *spare = free_ports(4)
    text = (local_cluster.directory / "gfs.toml").read_text()
    # An odd number of masters stands in a file: m5 is to come.
    added = [_block("m4", port, raft_port), _block("m5", *spare)]
    settings = text.index("[settings]")
    config = tmp_path / "m4.toml"
    config.write_text(
        "\n".join([text[:settings], *added, text[settings:]])
        + f'\n[master]\nname = "m4"\ndirectory = "{tmp_path}/m4"\n'
    )
    with (tmp_path / "m4.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gfs_ha.cli.daemons", "master", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready name=m4")
        yield MasterAddress("m4", "127.0.0.1", port, raft_port)
    finally:
        process.kill()
        process.communicate()


def _block(name: str, port: int, raft_port: int) -> str:
    return (
        f'[[cluster.masters]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
        f"raft_port = {raft_port}\n"
    )


def test_a_dead_master_is_replaced_under_load(
    local_cluster: LocalCluster, newcomer: MasterAddress
) -> None:
    creator = Creator(local_cluster.config_path)
    try:
        with gfs_ha.connect(local_cluster.config_path) as fs:
            # So many that the log has been cut: the new one needs a snapshot.
            wait_until(lambda: len(creator.made) > 1500, "the client is at work", 1200.0)
            dead = next(name for name in ("m1", "m2", "m3") if name != leader_of(fs))
            local_cluster.kill(dead, signal.SIGKILL)
            began_s = RUNTIME.monotonic_s()
            creator.take_longest_s()
            members = fs.operations.members(RUNTIME, 120.0)
            # Broken off between its two halves and begun again: it goes on where it was.
            steps = [*members.add(newcomer), *members.replace(dead, newcomer)]
            took_s = RUNTIME.monotonic_s() - began_s
            print(f"replaced in {took_s:.1f} s, longest wait {creator.take_longest_s():.3f} s")
            assert steps[-2:] == ["m4 votes", f"{dead} is out"]
            rows = fs.operations.masters().items
            assert {row.name for row in rows} == {"m1", "m2", "m3", "m4"} - {dead}
            assert all(row.voter for row in rows)
            # Of the old three only one is left beside the leader: now the new one counts.
            other = next(n for n in ("m1", "m2", "m3") if n not in (dead, leader_of(fs)))
            local_cluster.kill(other, signal.SIGKILL)
            before = len(creator.made)
            wait_until(lambda: len(creator.made) > before + 50, "the client goes on with two")
            # Nobody's configuration names it: they hear of it from the others.
            wait_until(lambda: leads_already(fs, "m4"), "m4 leads, and says so")
            before = len(creator.made)
            wait_until(lambda: len(creator.made) > before + 50, "the client follows to m4")
            with gfs_ha.connect(local_cluster.config_path) as other_client:
                other_client.put(io.BytesIO(b"bytes"), "/bytes")
                assert other_client.read_bytes("/bytes") == b"bytes"
            creator.close()
            assert not creator.errors
            names = {f"/{entry.name}" for entry in fs.listdir("/")}
            assert names == {*creator.made, "/bytes"}
    finally:
        creator.close()


def test_a_local_cluster_plays_it_and_is_whole_afterwards(local_cluster: LocalCluster) -> None:
    with gfs_ha.connect(local_cluster.config_path) as fs:
        fs.put(io.BytesIO(b"before"), "/before")
        old = leader_of(fs)
    steps = list(local_cluster.replace_master(old))
    assert f"{old} is out" in steps and "m4 votes" in steps
    assert {one.name for one in local_cluster.status()} >= {"m4"}
    assert old not in {one.name for one in local_cluster.status()}
    with gfs_ha.connect(local_cluster.config_path) as fs:
        voters = {*("m1", "m2", "m3", "m4")} - {old}
        verdicts: dict[str, str] = {}

        def compared() -> bool:
            items = fs.operations.verify_states().items
            verdicts.update({row.name: row.verdict for row in items})
            return "silent" not in verdicts.values()

        wait_until(compared, "all are heard")
        members = fs.operations.members(RUNTIME, 5.0)
        there = MasterAddress("m4", "127.0.0.1", 1, 2)
        assert list(members.replace(old, there)) == [f"{old} is out already, and m4 votes"]
        other = next(iter(voters - {"m4"}))
        with pytest.raises(AlreadyExists, match=f"masters remove {other}"):
            list(members.replace(other, there))
        with pytest.raises(NotFound, match="there are m"):
            list(members.replace("nope", MasterAddress("m9", "127.0.0.1", 1, 2)))
        with pytest.raises(InvalidArgument, match="different ports"):
            list(members.add(MasterAddress("m9", "127.0.0.1", 1, 1)))
        with pytest.raises(InvalidArgument, match="by itself"):
            list(members.replace(other, MasterAddress(other, "127.0.0.1", 1, 2)))
        assert {row.name for row in fs.operations.masters().items} == voters
        nobody = free_ports(2)
        silent = MasterAddress("m9", "127.0.0.1", *nobody)
        with pytest.raises(Unreachable, match="nothing was changed"):
            list(members.add(silent))
        # It was started, added, and went away.
        members._step(AddMaster("m9", "127.0.0.1", *nobody), done=AlreadyExists)
        with pytest.raises(DeadlineExceeded, match=r"again goes on.*remove m9"):
            list(fs.operations.members(RUNTIME, 0.0).add(silent))
        [row] = [row for row in fs.operations.masters().items if row.name == "m9"]
        assert not row.voter and not row.reachable
        findings = fs.operations.health().items
        assert [one.code for one in findings if "m9" in one.message] == ["LEARNER_SILENT"]
        with pytest.raises(AlreadyExists, match="masters remove m9"):
            list(members.replace(other, MasterAddress("m9", "127.0.0.1", 1, 2)))
        assert list(members.remove("m9")) == ["m9 is out"]
        assert {row.name for row in fs.operations.masters().items} == voters
    assert verdicts == dict.fromkeys(voters, "equal"), "compared are the members of now"
    local_cluster.down()
    local_cluster.up()
    with gfs_ha.connect(local_cluster.config_path) as fs:
        assert {row.name for row in fs.operations.masters().items} == voters
        assert fs.read_bytes("/before") == b"before"


def leads_already(fs: Cluster, name: str) -> bool:
    """Hand the lead to a master; return whether that was refused as it has it already."""
    try:
        assert fs.operations.transfer_leadership(name).leader == name
    except PreconditionFailed:
        return leader_of(fs) == name
    return False


def seen_by(fs: Cluster) -> set[str]:
    return {f"/{entry.name}" for entry in fs.listdir("/")}


def test_who_was_there_before_all_three_were_replaced_finds_their_successors(
    local_cluster: LocalCluster, tmp_path: Path
) -> None:
    """Clients and chunkservers learn of members from members: no file of theirs is read again."""
    old_file = tmp_path / "old.toml"
    old_file.write_bytes(local_cluster.config_path.read_bytes())
    creator = Creator(old_file)
    try:
        with (
            gfs_ha.connect(old_file) as fs,
            gfs_ha.connect(old_file, consistency="bounded:500") as reader,
        ):
            last = leader_of(fs)
            for old in {"m1", "m2", "m3"} - {last}:
                list(local_cluster.replace_master(old))
            # They talk to the last one of the old all the time, and it never has to name another.
            # What they ask beside that takes a moment, too: nobody may fall silent before.
            asked_s = RUNTIME.monotonic_s() + REFRESH_S + 2.0
            link = fs._connection.calls._link
            wait_until(
                lambda: (
                    bool(seen_by(reader))
                    and leads_already(fs, last)  # A busy machine may elect another.
                    and {"m4", "m5"} <= {*link.connections.names}
                    and RUNTIME.monotonic_s() > asked_s
                ),
                "they asked who is there",
            )
            made = len(creator.made)
            local_cluster.kill(last, signal.SIGKILL)
            wait_until(lambda: len(creator.made) > made + 20, "the client goes on")
            list(local_cluster.replace_master(last))
            assert {row.name for row in fs.operations.masters().items} == {"m4", "m5", "m6"}
            fs.put(io.BytesIO(b"after"), "/after")
            assert fs.read_bytes("/after") == b"after"
            wait_until(lambda: "/after" in seen_by(reader), "the reader goes on as well")
            # Nobody is left who answers where this file says.
            with gfs_ha.connect(old_file, timeout_s=1.0) as late, pytest.raises(NoLeader):
                late.stat("/after")
        with gfs_ha.connect(local_cluster.config_path) as fs:
            assert fs.read_bytes("/after") == b"after"
        creator.close()
        assert not creator.errors
    finally:
        creator.close()
