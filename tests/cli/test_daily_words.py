"""Amounts and moments as people write them, what find looks for, how much fits, how it looks."""

from __future__ import annotations

import io
from collections.abc import Sequence

import click
import pytest
from msgspec import convert
from msgspec.structs import replace
from rich.console import Console

from gfs_ha.cli.data.amounts import Age, Amount, Compared, Moment, Signed, compare, parse_moment
from gfs_ha.cli.data.criteria import Criteria
from gfs_ha.cli.data.df import ExactSpace, Space, space_of
from gfs_ha.cli.data.du import Columns
from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.room import copies_per_rack, fitting_bytes, room_bytes, sharing, standing
from gfs_ha.cli.data.totals import Total
from gfs_ha.cli.doctor import room_there
from gfs_ha.cli.render import render, text_of
from gfs_ha.ids import ContentId, DiskId, InodeId, ServerId
from gfs_ha.limits import GIB, MIB
from gfs_ha.protocol.metadata import DIRECTORY, FILE
from gfs_ha.protocol.reports import DiskRow, ServerRow

DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10", ("", 10)),
        ("-5", ("-", 5)),
        ("+3", ("+", 3)),
        ("1K", ("", 1024)),
        ("1kB", ("", 1000)),
        ("2MiB", ("", 2 * MIB)),
        ("3b", ("", 1536)),
    ],
)
def test_amounts_are_those_of_head(text: str, wanted: tuple[str, int]) -> None:
    assert Amount().convert(text, None, None) == Signed(*wanted)


@pytest.mark.parametrize(
    "text", ["", "x", "1X", "1.5", "--1", "1 K", "9999999999999999999", "\u0661"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    for kind in (Amount(), Compared(), Age()):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)


def test_sizes_of_find_are_bytes_or_have_a_unit() -> None:
    assert Compared().convert("+1M", None, None) == ("+", MIB)
    assert Compared().convert("-4096", None, None) == ("-", 4096)
    assert Compared().convert("0c", None, None) == ("", 0)


def test_a_comparison_is_strict() -> None:
    assert [compare("+", size, 5) for size in (4, 5, 6)] == [False, False, True]
    assert [compare("-", size, 5) for size in (4, 5, 6)] == [True, False, False]
    assert [compare("", size, 5) for size in (4, 5, 6)] == [False, True, False]


def test_moments_are_taken_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_moment("@1795634651.5") == 1795634651_500_000_000
    assert parse_moment("@-3.25") == -3_250_000_000
    assert parse_moment("2026-11-25T18:04Z") == 1795629840 * 10**9
    assert parse_moment("2026-11-25T18:04:00.123456789+00:00") == 1795629840_123456789
    here = parse_moment("2026-11-25 18:04:11")
    assert parse_moment("202611251804.11") == here == parse_moment("2611251804.11")
    assert parse_moment("1969-12-31T23:59:59Z") == -(10**9)
    for text in ("", "yesterday", "2026-13-01", "202613011200", "25:00", "@", "@1e5", "2026"):
        with pytest.raises(ValueError):
            parse_moment(text)


@pytest.mark.parametrize("text", ["9999-12-31", "@999999999999", "1600-01-01", "2262-06-01"])
def test_a_time_that_the_cluster_cannot_keep_is_refused_with_the_bounds(text: str) -> None:
    with pytest.raises(click.BadParameter, match="1678 to 2261"):
        Moment().convert(text, None, None)


def item(path: str, size: int = 0, kind: str = FILE, age_days: float = 0.0) -> FileItem:
    return FileItem(
        *(path, path.rsplit("/", 1)[1], kind, size, 0o644, "", ""),
        mtime_ns=int(1000 * DAY_NS - age_days * DAY_NS),
        inode_id=InodeId(1),
        content_id=ContentId(0),
        generation=0,
        goal=3 if kind == FILE else 0,
        entry_count=0,
        growing=False,
    )


def found(criteria: Criteria, *items: FileItem) -> list[str]:
    return [one.name for one in items if criteria.hold(one)]


def test_find_looks_at_names_kinds_and_sizes() -> None:
    some = item("/d/a.log", 10), item("/d/B.LOG", 0), item("/d", kind=DIRECTORY)
    assert found(Criteria(), *some) == ["a.log", "B.LOG", "d"]
    assert found(Criteria(names=("*.log",)), *some) == ["a.log"]
    assert found(Criteria(names=("*.log", "d")), *some) == ["a.log", "d"]
    assert found(Criteria(names_folded=("*.log",)), *some) == ["a.log", "B.LOG"]
    assert found(Criteria(paths=("/d/*",)), *some) == ["a.log", "B.LOG"]
    assert found(Criteria(kind=DIRECTORY), *some) == ["d"]
    odd = item("/*"), item("/a*b"), item("/a\\b"), item("/axb"), item("/[x]")
    assert found(Criteria(names=("a\\*b", "\\[x]")), *odd) == ["a*b", "[x]"]
    assert found(Criteria(names=("a\\\\b", "\\*")), *odd) == ["*", "a\\b"]
    assert found(Criteria(size=Signed("+", 5)), *some) == ["a.log"]
    assert found(Criteria(size=Signed("", 0)), *some) == ["B.LOG"]
    assert found(Criteria(empty=True), *some) == ["B.LOG", "d"]
    assert found(Criteria(goal=Signed("-", 4)), *some) == ["a.log", "B.LOG"]


def test_days_are_whole_ones_as_find_has_them_and_spans_are_exact() -> None:
    some = [item(f"/{age}", age_days=age) for age in (0.5, 1.5, 2.5)]

    def by(text: str) -> list[str]:
        age = Age().convert(text, None, None)
        return found(Criteria(ages=(age,), now_ns=1000 * DAY_NS), *some)

    assert by("-1") == ["0.5"] and by("1") == ["1.5"] and by("+1") == ["2.5"]
    assert by("+24h") == ["1.5", "2.5"] and by("-13h") == ["0.5"]
    newer = Criteria(newer_than_ns=1000 * DAY_NS - 2 * DAY_NS)
    assert found(newer, *some) == ["0.5", "1.5"]


# How much fits ----------------------------------------------------------------------------------


def server(name: str, rack: str, free: int, total: int = 100 * GIB, machine: str = "") -> ServerRow:
    return ServerRow(
        *(ServerId(int(name[2:])), name, "127.0.0.1", 7000, rack, machine or name, "live"),
        disk_usage=1 - free / total,
        chunk_count=0,
        replica_count=0,
        free_bytes=free,
        total_bytes=total,
        heartbeat_age_ms=100,
        timestamp=0,
        disks=(),
    )


def test_a_server_has_no_room_above_its_mark() -> None:
    assert room_bytes(server("cs1", "r1", 100 * GIB)) == 95 * GIB
    assert room_bytes(server("cs1", "r1", 4 * GIB)) == 0
    assert room_bytes(replace(server("cs1", "r1", 100 * GIB), state="dead")) == 0


def test_a_server_that_takes_nothing_new_has_no_room() -> None:
    three = [server(f"cs{number}", "r1", 55 * GIB) for number in range(1, 4)]
    draining = replace(three[0], mode="draining")
    resting = replace(three[0], maintenance_left_ms=60_000)
    for closed, how in ((draining, "draining"), (resting, "in maintenance")):
        assert (standing(closed), room_bytes(closed)) == (how, 0)
        assert fitting_bytes([closed, *three[1:]], 3, "seed") == 0
        assert fitting_bytes([closed, *three[1:]], 2, "seed") == 50 * GIB
        told = render(space_of([closed, *three[1:]], "/", 2, "seed"), True)
        assert how in text_of(told, False, True)


def test_each_disk_has_a_mark_of_its_own_and_a_failed_one_no_room() -> None:
    disks = tuple(
        DiskRow(DiskId(number), 50 * GIB, free * GIB, 0, failed)
        for number, free, failed in ((1, 50, ""), (2, 2, ""), (3, 50, "EIO"))
    )
    leaving = DiskRow(DiskId(4), 50 * GIB, 50 * GIB, 0, "", mode="draining")
    two = replace(server("cs1", "r1", 52 * GIB), disks=(*disks, leaving))
    assert room_bytes(two) == 50 * GIB * 95 // 100


def test_bytes_can_be_exact() -> None:
    space = space_of([server("cs1", "r1", 55 * GIB)], "/", 1, "seed")
    exact = text_of(render(convert(space, ExactSpace, from_attributes=True), False), False, False)
    assert str(100 * GIB) in exact and f"{50 * GIB} bytes of files" in exact


def test_doctor_tells_how_much_room_there_is() -> None:
    roomy, full = server("cs1", "r1", 55 * GIB), server("cs2", "r1", 2 * GIB)
    drained = replace(roomy, name="cs3", mode="drained")
    assert room_there([roomy, drained]).state == "ok"
    warned = room_there([roomy, full])
    assert warned.state == "warn" and "full: cs2" in warned.fact
    assert room_there([full, drained]).state == "fail"


def test_copies_lie_on_servers_of_their_own() -> None:
    equal = [server(f"cs{number}", "r1", 55 * GIB) for number in range(1, 4)]
    assert fitting_bytes(equal, 3, "seed") == 50 * GIB
    assert fitting_bytes(equal, 1, "seed") == 150 * GIB
    assert fitting_bytes(equal[:2], 3, "seed") == 0
    uneven = [*equal[:2], server("cs3", "r1", 15 * GIB)]
    assert fitting_bytes(uneven, 3, "seed") == 10 * GIB
    assert fitting_bytes(uneven, 2, "seed") == 55 * GIB


def test_a_small_rack_bounds_what_fits_by_the_rule() -> None:
    servers = [server(f"cs{number}", "r1", 65 * GIB) for number in range(1, 4)]
    servers.append(server("cs4", "r2", 15 * GIB))
    assert fitting_bytes(servers, 3, "seed") == 10 * GIB
    anywhere = [replace(one, rack="") for one in servers]
    assert fitting_bytes(anywhere, 3, "seed") == 190 * GIB // 3
    assert copies_per_rack("spread", 3, 4) == 1 and copies_per_rack("spread", 3, 2) == 2
    assert copies_per_rack("seed", 3, 2) == 2 and copies_per_rack("hdfs", 2, 2) == 1
    assert copies_per_rack("seed", 3, 1) == 3


def test_machines_count_where_there_are_enough_of_them() -> None:
    names = [(f"cs{number}", f"h{number % 3}") for number in range(6)]
    servers = [server(name, "r1", 55 * GIB, machine=machine) for name, machine in names]
    assert fitting_bytes(servers, 3, "seed") == 100 * GIB
    alone = [replace(one, machine="h") for one in servers]
    assert fitting_bytes(alone, 3, "seed") == 100 * GIB


def test_what_fits_is_never_more_than_there_is_and_grows_with_room() -> None:
    for goal in (1, 2, 3, 5):
        for rule in ("seed", "spread", "hdfs"):
            last = 0
            for free in (10, 20, 40, 80):
                rows = [server(f"cs{n}", f"r{n % 3}", (free + n) * GIB) for n in range(1, 8)]
                fits = fitting_bytes(rows, goal, rule)
                assert last <= fits <= sum(map(room_bytes, rows)) // goal
                last = fits


def test_servers_that_share_a_disk_are_noticed() -> None:
    one = server("cs1", "r1", 70 * GIB, 100 * GIB + 4096, machine="h")
    twin = replace(one, name="cs2", free_bytes=one.free_bytes + 4096)
    assert sharing([one, twin]) == ["cs1", "cs2"]
    assert sharing([one, replace(twin, machine="other")]) == []
    small = replace(one, total_bytes=300 << 20, free_bytes=60 << 20)
    assert sharing([small, replace(small, name="cs2", free_bytes=61 << 20)]) == [], "capacities"
    assert sharing([one, replace(twin, free_bytes=60 * GIB)]) == []
    empty = replace(one, free_bytes=one.total_bytes - MIB)
    assert sharing([empty, replace(empty, name="cs2")]) == []


# Pictures ---------------------------------------------------------------------------------------


def text_at(space: Space, width: int, wide: bool = False) -> list[str]:
    buffer = io.StringIO()
    Console(file=buffer, width=width, markup=False, emoji=False).print(render(space, wide))
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def space(servers: Sequence[ServerRow]) -> Space:
    return space_of(servers, "/", 3, "seed")


def some_servers() -> list[ServerRow]:
    frees = (55, 40, 65, 12)
    rows = [server(f"cs{n}", f"r{n % 2 + 1}", free * GIB) for n, free in enumerate(frees, 1)]
    return [*rows, replace(server("cs10", "r1", 100 * GIB), state="dead")]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_df_looks_like_this(width: int) -> None:
    assert text_at(space(some_servers()), width) == [
        " Disks of  Servers   Capacity       Used       Free  Used %",
        " cluster         4  400.0 GiB  228.0 GiB  172.0 GiB    57 %",
        "",
        "Fits still: 42.0 GiB of files, with 3 copies by the rule seed",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_df_shows_racks_and_servers_when_asked_for(width: int) -> None:
    assert text_at(space(some_servers()), width, wide=True)[:9] == [
        " Disks of   Servers   Capacity       Used       Free  Used %       Room",
        " cluster          4  400.0 GiB  228.0 GiB  172.0 GiB    57 %  152.0 GiB",
        "   rack r1        2  200.0 GiB  148.0 GiB   52.0 GiB    74 %   42.0 GiB",
        "     cs2             100.0 GiB   60.0 GiB   40.0 GiB    60 %   35.0 GiB",
        "     cs4             100.0 GiB   88.0 GiB   12.0 GiB    88 %    7.0 GiB",
        "     cs10      dead          -          -          -       -          -",
        "   rack r2        2  200.0 GiB   80.0 GiB  120.0 GiB    40 %  110.0 GiB",
        "     cs1             100.0 GiB   45.0 GiB   55.0 GiB    45 %   50.0 GiB",
        "     cs3             100.0 GiB   35.0 GiB   65.0 GiB    35 %   60.0 GiB",
    ]


def test_du_keeps_its_columns_however_large_the_numbers_are() -> None:
    rows = [
        Total("/a\nb", DIRECTORY, 1023 * MIB, 3 * GIB, 1, 1),
        Total("/", DIRECTORY, 5 * GIB, 15 * GIB, 1234567, 10),
    ]
    assert list(Columns(human=True, apparent=True, raw=True, wide=True).lines(iter(rows))) == [
        "      Size  All copies        Files  Directories  Path",
        "1023.0 MiB     3.0 GiB            1            1  /a\\nb",
        "   5.0 GiB    15.0 GiB    1,234,567           10  /",
    ]
    assert list(Columns(human=False, apparent=True, raw=False, wide=False).lines(iter(rows)))[
        1:
    ] == [
        "     1072693248  /a\\nb",
        "     5368709120  /",
    ]
