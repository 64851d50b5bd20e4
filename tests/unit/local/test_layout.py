"""The directory of a local cluster: its configurations are the only record of what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gfs_ha import config
from gfs_ha.errors import ConfigError, UsageError, WrongDirectory
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.home import CHUNKSERVER, MASTER
from gfs_ha.local.layout import Layout, Newcomer, Plan, default_directory

PLAN = Plan(masters=3, chunkservers=11, racks=("r1", "r2"), chunk_bytes=1 << 20)
PORTS = tuple(range(10_000, 10_000 + PLAN.ports_needed()))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "d")
    made.claim()
    made.write(PLAN, "local-1", PORTS)
    return made


def test_what_was_planned_is_read_back(layout: Layout) -> None:
    members = layout.members()
    assert layout.plan() == PLAN
    assert [one.name for one in members[:4]] == ["m1", "m2", "m3", "cs1"]
    assert members[-1].name == "cs11", "the order is that of the numbers"
    assert [one.role for one in members] == [MASTER] * 3 + [CHUNKSERVER] * 11
    assert [one.rack for one in members[3:6]] == ["r1", "r2", "r1"]
    used = {one.port for one in members}
    client = config.load(layout.client_config)
    used |= {one.raft_port for one in client.cluster.masters}
    used |= {one.metrics_port for one in members}
    assert used == set(PORTS), "each port is used once"


def test_a_cluster_of_a_release_without_ports_for_watchers_is_read(layout: Layout) -> None:
    for home in layout.homes():
        text = home.config_path.read_text()
        home.config_path.write_text(text.partition("\n[metrics]")[0])
    assert layout.plan() == PLAN
    assert {one.metrics_port for one in layout.members()} == {0}


@pytest.mark.parametrize("sizes", [(1 << 30, 2 << 30), (1 << 30,), (0, 1 << 30, 0), (0,)])
def test_capacities_are_given_in_turns_and_read_back(tmp_path: Path, sizes) -> None:
    plan = Plan(masters=1, chunkservers=5, racks=("r1",), capacities=sizes)
    layout = Layout(tmp_path / "d")
    layout.claim()
    layout.write(plan, "local-1", range(10_000, 10_000 + plan.ports_needed()))
    given = [one.capacity for one in layout.members()[1:]]
    assert given == [sizes[index % len(sizes)] for index in range(5)]
    assert layout.plan().capacities == sizes


def test_a_server_may_be_given_several_disks_which_are_read_back(tmp_path: Path) -> None:
    plan = Plan(masters=1, chunkservers=2, racks=("r1",), capacities=(1 << 30, 2 << 30), disks=3)
    layout = Layout(tmp_path / "d")
    layout.claim()
    layout.write(plan, "local-1", range(10_000, 10_000 + plan.ports_needed()))
    assert layout.plan() == plan
    own = config.load(layout.members()[2].home.config_path).chunkserver
    assert [one.capacity for one in own.disks] == [2 << 30] * 3
    assert [one.directory.name for one in own.disks] == ["data1", "data2", "data3"]
    with pytest.raises(UsageError, match="1 to 16"):
        Plan(disks=17).check()


def test_a_capacity_is_not_too_small() -> None:
    with pytest.raises(UsageError, match="at least 64 MiB"):
        Plan(capacities=(1 << 20,)).check()


def test_each_process_has_a_valid_configuration_of_its_own(layout: Layout) -> None:
    for member in layout.members():
        read = config.load(member.home.config_path)
        assert read.cluster.id == "local-1"
        own = read.master or read.chunkserver
        assert own is not None and own.name == member.name
        directory = read.master.directory if read.master else read.chunkserver.disks[0].directory
        assert directory == member.home.data == layout.directory / member.name / "data"
    assert config.load(layout.client_config).settings.chunk_bytes == 1 << 20


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongDirectory, match="is not empty and holds no local cluster"):
        Layout(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_wiping_leaves_what_the_cluster_did_not_write(layout: Layout) -> None:
    (layout.directory / "notes.txt").write_text("mine")
    (layout.directory / "mine").mkdir()
    (layout.directory / "mine/gfs.toml").write_text("mine")
    layout.remove()
    assert sorted(path.name for path in layout.directory.iterdir()) == ["mine", "notes.txt"]
    assert not layout.exists()


def test_wiping_removes_the_directory_itself(layout: Layout) -> None:
    layout.mark_complete()
    layout.remove()
    assert not layout.directory.exists()


@pytest.mark.parametrize("after", [0, 2, 5])
def test_a_cluster_that_was_wiped_in_part_is_not_complete_any_more(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    layout.mark_complete()
    cluster, rmtree, removed = LocalCluster(layout.directory), shutil.rmtree, []
    assert cluster.complete

    def broken_off(path: Path, **options: bool) -> None:
        if len(removed) == after:
            raise KeyboardInterrupt
        removed.append(path)
        rmtree(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", broken_off)
        with pytest.raises(KeyboardInterrupt):
            cluster.down(wipe=True)
    assert cluster.there and not cluster.complete
    cluster.down(wipe=True)
    assert not layout.directory.exists()


def test_a_home_that_was_moved_aside_is_none_and_is_not_wiped(layout: Layout) -> None:
    *others, last = layout.homes()
    for end in ("", "1"):
        aside = layout.directory / f"{last.name}.aside{end}"
        last.directory.rename(aside)
        assert layout.homes() == tuple(others)
        layout.lay_out_servers((Newcomer(last.name, "r1", 0, 1),), (20_000, 20_001))
    layout.remove()
    left = sorted(path.name for path in layout.directory.iterdir())
    assert left == ["cs11.aside", "cs11.aside1"]
    assert (aside / "gfs.toml").exists()


def test_homes_are_known_also_without_readable_configurations(layout: Layout) -> None:
    for home in layout.homes():
        home.config_path.write_text("\0")
    assert [home.name for home in layout.homes()][2:5] == ["m3", "cs1", "cs2"]


def test_a_home_is_never_there_without_its_configuration(layout: Layout) -> None:
    there = layout.homes()
    broken = Newcomer("cs12", "\udc80", 0, 1)  # Cannot be written.
    with pytest.raises(UnicodeEncodeError):
        layout.lay_out_servers((broken,), (20_000, 20_001))
    assert (layout.directory / "cs12.new").exists(), "as when the machine dies amid it"
    assert layout.homes() == there and layout.plan() == PLAN
    (member,) = layout.lay_out_servers((Newcomer("cs12", "r1", 0, 1),), (20_000, 20_001))
    assert [*layout.members()][-1] == member
    member.home.data.mkdir()
    member.home.discard()
    assert layout.homes() == there


def test_halves_of_homes_are_wiped_too(layout: Layout) -> None:
    for name in ("cs12.new", "m3.gone"):
        (layout.directory / name).mkdir()
        (layout.directory / name / "half").touch()
    last = layout.homes()[-1]
    last.files.log.write_text("why")
    log = last.withdraw()
    assert log == layout.directory / "cs11.log" and log.read_text() == "why"
    assert last not in layout.homes()
    layout.remove()
    assert not layout.directory.exists()


def test_what_is_left_of_an_earlier_try_does_not_keep_a_home(layout: Layout) -> None:
    for name in ("cs11.gone", "cs11.gone1"):
        (layout.directory / name).touch()  # No directory, so it is not removed as one.
    *others, last = layout.homes()
    last.discard()
    assert layout.homes() == tuple(others)
    assert not (layout.directory / "cs11.gone2").exists()
    layout.remove()
    assert not layout.directory.exists()


def test_a_chunkserver_is_known_from_when_it_has_an_id_on(layout: Layout) -> None:
    home = layout.homes()[-1]
    assert not home.enrolled()
    (home.directory / "data2").mkdir()
    assert not home.enrolled()
    (home.directory / "data2" / "identity.json").touch()
    assert home.enrolled()


def test_all_ports_of_a_cluster_are_known(layout: Layout) -> None:
    layout.lay_out_master("m1", (20_000, 20_001, 20_002))
    assert layout.ports() == {*PORTS, 20_000, 20_001, 20_002}


def test_a_damaged_configuration_is_named(layout: Layout) -> None:
    (layout.directory / "cs2/gfs.toml").write_text("[cluster\n")
    with pytest.raises(ConfigError, match=r"cs2/gfs\.toml:1: broken TOML"):
        layout.members()


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(masters=0), "0 masters"),
        (Plan(masters=8), "8 masters"),
        (Plan(chunkservers=101), "101 chunkservers"),
        (Plan(racks=()), "no rack"),
        (Plan(racks=("r1", 'r"2')), 'r"2'),
        (Plan(racks=("r1", "r 2")), "a rack is named by"),
        (Plan(chunk_bytes=5), "settings.chunk_size: 5 bytes"),
    ],
)
def test_what_cannot_be_is_refused(plan: Plan, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan.check()
    assert says in caught.value.message


def test_the_default_directory_can_be_named_by_the_environment() -> None:
    assert default_directory({"GFS_LOCAL_DIR": "/x"}) == Path("/x")
    assert default_directory({}) == Path.home() / ".gfs-ha/local"
