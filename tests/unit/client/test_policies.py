"""Writers keep to what directories say: asked for rarely, shared chunks only among the alike."""

from __future__ import annotations

import pytest
from little_cluster import LittleCluster

from gfs_ha.errors import InvalidArgument, IsADirectory, NotADirectory, NotFound
from gfs_ha.limits import MIB
from gfs_ha.protocol.metadata import AllocateChunk
from gfs_ha.protocol.policy import GetPolicy


def wanted(little: LittleCluster) -> list[tuple[int, str, int]]:
    """Return goal, rule and size of the chunks that were asked for."""
    found = [asked.request for asked in little.masters.requests(AllocateChunk)]
    return [(one.goal, one.rule, one.chunk_bytes) for one in found]


def test_without_any_policy_a_writer_asks_once_and_all_small_files_share_a_chunk(
    little: LittleCluster,
) -> None:
    client = little.client
    for directory in ("/a", "/b", "/c"):
        client.mkdir(directory)
        for number in range(3):
            client.write_bytes(f"{directory}/{number}", b"x" * 100)
    assert wanted(little) == [(0, "", 0)]
    assert len(little.masters.requests(GetPolicy)) < 9, "not for each file"


def test_small_files_share_a_chunk_with_those_that_are_kept_alike(little: LittleCluster) -> None:
    client = little.client
    for directory in ("/a", "/b", "/two", "/two/deep"):
        client.mkdir(directory)
    client.policies.set("/two", replicas=2, rule="spread")
    for directory in ("/a", "/two", "/b", "/two/deep", "/a"):
        for number in range(2):
            client.write_bytes(f"{directory}/{number}", b"x" * 100)
    assert wanted(little) == [(0, "", 0), (2, "spread", 0)]
    assert len(little.masters.requests(GetPolicy)) < 10, "not for each file"
    assert client.stat("/two/deep/0").goal == 2 and client.stat("/a/0").goal == 3


def test_a_big_file_gets_chunks_as_its_directory_says(little: LittleCluster) -> None:
    client = little.client
    client.mkdir("/big")
    client.policies.set("/big", rule="hdfs", chunk_bytes=2 * MIB)
    with client.open("/big/file", "wb") as file:
        file.write(b"y" * (5 * MIB))
    assert set(wanted(little)) == {(0, "hdfs", 2 * MIB)} and len(wanted(little)) >= 3
    assert client.read_bytes("/big/file") == b"y" * (5 * MIB)
    with client.open("/big/other", "wb", replicas=2) as file:
        file.write(b"y" * MIB)
    assert wanted(little)[-1] == (2, "hdfs", 2 * MIB), "what is asked for wins"


def test_a_writer_that_says_nothing_goes_by_what_its_directory_says_of_durability(
    little: LittleCluster,
) -> None:
    client = little.client
    client.mkdir("/fast/deep", parents=True)
    client.mkdir("/safe")
    client.policies.set("/fast", durability="memory")
    client.write_bytes("/fast/deep/small", b"x" * 100)
    client.write_bytes("/safe/small", b"x" * 100)
    client.write_bytes("/fast/deep/asked", b"x" * 100, durability="disk")
    with client.open("/fast/big", "wb") as file:
        file.write(b"y" * MIB)
    asked = [one.request.durability for one in little.masters.requests(AllocateChunk)]
    assert asked == ["memory", "disk", "memory"], "what is asked for shares the chunk of its like"
    assert client.policies.durability("/fast/log", "") == "memory"
    assert client.policies.durability("/fast/log", "disk") == "disk"
    assert client.policies.durability("/safe/log", "") == "disk"
    told = client.policies.get("/fast/deep/small")
    assert (told.durability, told.durability_from, told.own_durability) == ("memory", "/fast", "")
    client.policies.set("/fast", durability="")
    assert client.policies.get("/fast").durability == "disk"


def test_what_is_told_of_a_policy_names_who_decides(little: LittleCluster) -> None:
    client = little.client
    client.mkdir("/a/b", parents=True)
    client.policies.set("/", rule="spread")
    client.policies.set("/a", replicas=2)
    told = client.policies.get("/a/b")
    assert (told.goal, told.goal_from, told.rule, told.rule_from) == (2, "/a", "spread", "/")
    assert (told.chunk_bytes_from, told.own_goal, told.policy_count) == ("", 0, 2)
    client.write_bytes("/a/b/file", b"x")
    client.policies.unset("/a")
    told = client.policies.get("/a/b/file")
    assert (told.kind, told.goal, told.goal_from) == ("file", 2, "/a/b/file")
    assert client.policies.get("/a/b").goal == 3


def test_the_copies_that_files_want_are_set_one_by_one_or_many_at_once(
    little: LittleCluster,
) -> None:
    client = little.client
    paths = [f"/f{number}" for number in range(5)]
    for path in paths:
        client.write_bytes(path, b"x")
    assert client.policies.set_replication("/f0", 4).goal == 4
    assert client.stat("/f0").goal == 4
    outcomes = client.policies.set_replication_all([*paths, "/none"], 2)
    assert outcomes[:5] == [None] * 5 and isinstance(outcomes[5], NotFound)
    assert {client.stat(path).goal for path in paths} == {2}
    assert client.policies.set_replication("/f0", 0).goal == 3


def test_what_cannot_be_set_is_refused(little: LittleCluster) -> None:
    client = little.client
    client.mkdir("/a")
    client.write_bytes("/a/file", b"x")
    with pytest.raises(InvalidArgument):
        client.policies.set("/a", rule="nearby")
    with pytest.raises(NotADirectory):
        client.policies.set("/a/file", replicas=2)
    with pytest.raises(IsADirectory):
        client.policies.set_replication("/a", 2)
    with pytest.raises(NotFound):
        client.policies.get("/none")
