"""What a local cluster consists of: what is refused, and which chunkservers come to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gfs_ha import config
from gfs_ha.errors import PreconditionFailed, UsageError
from gfs_ha.local.layout import Layout, Newcomer, Plan
from gfs_ha.local.shape import Growth, check_majority, check_shape

MIB = 1 << 20


def laid_out(directory: Path, plan: Plan) -> Layout:
    layout = Layout(directory)
    layout.claim()
    layout.write(plan, "local-1", range(10_000, 10_000 + plan.ports_needed()))
    return layout


def newcomers(layout: Layout, growth: Growth) -> tuple[Newcomer, ...]:
    members = layout.members()
    return growth.newcomers(layout.plan(), members, {one.name for one in members})


def test_newcomers_are_as_those_that_are_there_and_go_to_the_racks_that_have_the_fewest(
    tmp_path: Path,
) -> None:
    sizes = (64 * MIB, 128 * MIB)
    plan = Plan(masters=1, chunkservers=3, racks=("r1", "r2"), capacities=sizes, disks=2)
    layout = laid_out(tmp_path / "d", plan)
    assert newcomers(layout, Growth(servers=3)) == (
        Newcomer("cs4", "r2", 128 * MIB, 2),
        Newcomer("cs5", "r1", 64 * MIB, 2),
        Newcomer("cs6", "r2", 128 * MIB, 2),
    )
    asked = Growth(servers=2, rack="r3", capacity=0, disks=1)
    assert newcomers(layout, asked) == (Newcomer("cs4", "r3", 0, 1), Newcomer("cs5", "r3", 0, 1))


def test_who_is_laid_out_is_read_back_with_a_name_that_nobody_had(tmp_path: Path) -> None:
    layout = laid_out(tmp_path / "d", Plan(masters=1, chunkservers=2, racks=("r1", "r2")))
    first = newcomers(layout, Growth(rack="r3"))
    (member,) = layout.lay_out_servers(first, (20_000, 20_001))
    assert (member.name, member.port, member.metrics_port) == ("cs3", 20_000, 20_001)
    assert config.load(member.home.config_path).cluster.id == "local-1"
    assert layout.plan().racks == ("r1", "r2", "r3")
    assert [one.name for one in newcomers(layout, Growth(servers=2))] == ["cs4", "cs5"]


def test_a_server_that_does_not_run_fills_no_rack(tmp_path: Path) -> None:
    layout = laid_out(tmp_path / "d", Plan(masters=1, chunkservers=4, racks=("r1", "r2")))
    running = {"m1", "cs1", "cs3"}  # In r1; cs2 and cs4 were decommissioned and stopped.
    found = Growth(servers=3).newcomers(layout.plan(), layout.members(), running)
    assert [(one.name, one.rack) for one in found] == [("cs5", "r2"), ("cs6", "r2"), ("cs7", "r1")]


def test_a_cluster_without_servers_gets_its_first_ones(tmp_path: Path) -> None:
    layout = laid_out(tmp_path / "d", Plan(masters=1, chunkservers=0))
    found = newcomers(layout, Growth(servers=2))
    assert [(one.name, one.rack) for one in found] == [("cs1", "r1"), ("cs2", "r2")]


@pytest.mark.parametrize(
    ("growth", "said"),
    [
        (Growth(servers=0), "add at least 1"),
        (Growth(servers=99), "0 to 100"),
        (Growth(rack="r1,r3"), "^'r1,r3': a rack is named by up to 32 letters"),
        (Growth(capacity=MIB), "at least 64 MiB"),
        (Growth(disks=17), "1 to 16"),
    ],
)
def test_what_cannot_be_added_is_refused(tmp_path: Path, growth: Growth, said: str) -> None:
    layout = laid_out(tmp_path / "d", Plan(masters=1, chunkservers=2))
    with pytest.raises(UsageError, match=said):
        newcomers(layout, growth)


def test_who_asks_for_more_servers_than_there_are_is_told_how_to_add_them() -> None:
    there = Path("/c")
    check_shape(there, Plan(), {"chunkservers": 4, "masters": 3})
    with pytest.raises(
        UsageError, match="--chunkservers 7; `gfsctl local add --servers 3 --dir /c`"
    ):
        check_shape(there, Plan(), {"chunkservers": 7})
    with pytest.raises(UsageError, match="--dir '/a b'`"):
        check_shape(Path("/a b"), Plan(), {"chunkservers": 7})
    for other in ({"chunkservers": 3}, {"masters": 5}):
        with pytest.raises(UsageError, match="`gfsctl local down --wipe --dir /c` removes it"):
            check_shape(there, Plan(), other)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"racks": ("r1", "r2", "r3")}, "has --racks r1,r2, not --racks r1,r2,r3;"),
        ({"capacities": (0, 1 << 30)}, "has --capacity 0, not --capacity 0,1024MiB;"),
        ({"chunk_bytes": MIB + 1}, "has --chunk-size 64MiB, not --chunk-size 1048577;"),
        ({"closed": True}, "has --no-tls, not --tls;"),
        ({"disks": 2}, "has --disks 1, not --disks 2;"),
    ],
)
def test_another_shape_is_told_by_the_options_that_ask_for_it(asked, said: str) -> None:
    with pytest.raises(UsageError, match=f"the cluster in /c {re.escape(said)}"):
        check_shape(Path("/c"), Plan(), asked)


def test_servers_are_added_also_while_a_master_is_on_its_way_into_a_place(tmp_path: Path) -> None:
    layout = laid_out(tmp_path / "d", Plan(masters=3, chunkservers=2))
    layout.lay_out_master("m3", (20_000, 20_001, 20_002))
    assert len(layout.members()) == 6
    assert [one.name for one in newcomers(layout, Growth())] == ["cs3"]
    assert layout.voters() == ("m1", "m2", "m3")
    check_majority(tmp_path, layout.voters(), {"m1", "m2"})


def test_nothing_is_added_while_too_few_masters_run_to_have_a_leader() -> None:
    masters = ("m1", "m2", "m3")
    check_majority(Path("/c"), masters, {"m1", "m3"})
    with pytest.raises(PreconditionFailed, match=r"1 of 3 masters run.* local up --dir /c`"):
        check_majority(Path("/c"), masters, {"m2", "cs1"})
