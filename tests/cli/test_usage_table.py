"""`gfsctl admin top --by`: the table at any width, what is refused, and a real cluster's truth."""

from __future__ import annotations

import io
from pathlib import Path
from uuid import uuid4

import pytest
from gfsctl_program import Gfsctl, wait_until
from rich.console import Console

import gfs_ha
from gfs_ha.cli.admin.usage import UsageTable
from gfs_ha.cli.render import names
from gfs_ha.protocol.usage import UsageReport, UsageRow

MIB = 1 << 20

ROWS = (
    UsageRow("backup", 1_204, 52_812_344_111, 0, 0, 12_400, 94_000),
    UsageRow("ann@workstation-with-a-long-name.example:47110", 98_004, 734_003_200, 3, 200_000),
    UsageRow("evil\x1b[2J", 7, 12, 0, 0, 800, 12_345_678),
)
REPORT = UsageReport(
    by="client",
    window="1m",
    sort="bytes",
    over_ms=58_000,
    items=ROWS,
    others=UsageRow("(others)", 12_345, 1 << 20, 0, 0, 300, 9_000),
    total=UsageRow("(total)", 111_560, 53_547_395_899, 0, 0, 350, 93_000),
    others_count=240,
    operations_unlisted=3,
    bytes_unlisted=200_000,
    servers=3,
    servers_live=4,
    leader="m2",
    leader_ms=11_520_000,
)

AT_80 = """\
last 58 s, by bytes; requests to m2, data of 3 of 4 chunkservers
Client                                Bytes    Bytes/s      Ops  Ops/s     p99
backup                             49.2 GiB  868.4 MiB    1,204     21   94 ms
ann@workstation…me.example:47110  700.0 MiB   12.1 MiB   98,004  1,690       -
evil\\x1b[2J                            12 B        0 B        7    0.1    12 s
(others)                            1.0 MiB   17.7 KiB   12,345    213  9.0 ms
(total)                            49.9 GiB  880.5 MiB  111,560  1,923   93 ms
more names than are kept: a row may lack what -o wide shows as missed (it is in
the others); nobody who is not named did more than 3 operations or 195.3 KiB
"""


def shown(report: UsageReport, columns: int, wide: bool = False) -> str:
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=columns, no_color=True, markup=False, emoji=False, highlight=False
    )
    console.print(UsageTable(report, wide))
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def test_the_table_at_80_columns() -> None:
    assert shown(REPORT, 80) == AT_80


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("wide", [False, True])
def test_a_row_is_one_line_however_narrow_it_is(columns: int, wide: bool) -> None:
    lines = shown(REPORT, columns, wide).splitlines()
    assert all(len(line) <= columns for line in lines)
    for begin in ("backup", "ann@wo", "evil\\x1b", "(others)", "(total)"):
        [line] = [line for line in lines if line.startswith(begin)]
        assert "B" in line.split(maxsplit=1)[1], "bytes are never left out"


def test_a_wide_terminal_shows_all_columns_and_whole_names() -> None:
    text = shown(REPORT, 200, wide=True)
    assert "ann@workstation-with-a-long-name.example:47110" in text
    for title in ("Share", "Ops/s", "p50", "p99", "Bytes missed", "Ops missed"):
        assert title in text
    assert "≤ 195.3 KiB" in text and "≤ 3" in text


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_letters_of_two_columns_keep_the_numbers_in_line(columns: int) -> None:
    from msgspec.structs import replace
    from rich.cells import cell_len

    deep = UsageRow("/天文台の観測データ/二〇二六年の長い夜の観測🌌", 7, 12 * MIB, 0, 0, 800, 900)
    lines = shown(replace(REPORT, items=(*ROWS, deep)), columns).splitlines()
    rows = [one for one in lines if one.endswith(" ms")]
    assert len(rows) >= 4 and len({cell_len(one) for one in rows}) == 1
    assert all(cell_len(one) <= columns for one in lines)


def test_the_usual_rows_fit_a_terminal_of_24_lines() -> None:
    from msgspec.structs import replace

    from gfs_ha.cli.admin.usage import ROWS as USUAL

    items = tuple(UsageRow(f"ann@ops:{at}", 1, MIB, 0, 0, 800, 900) for at in range(USUAL))
    assert len(shown(replace(REPORT, items=items), 80).splitlines()) < 24


def test_a_leader_that_is_new_says_so() -> None:
    from msgspec.structs import replace

    text = shown(replace(REPORT, leader_ms=4_000), 200)
    assert "it leads for 4.0 s, what another one did is not in it" in text
    assert list(names(REPORT)) == [row.name for row in ROWS]


@pytest.mark.parametrize("columns", [40, 80])
def test_the_bytes_of_paths_are_told_to_be_sizes(columns: int) -> None:
    from msgspec.structs import replace

    told = "bytes are whole sizes of the files opened and published, read or not"
    said = " ".join(shown(replace(REPORT, by="path"), columns).split())
    assert told in said
    for by in ("client", "op"):
        assert "whole sizes" not in " ".join(shown(replace(REPORT, by=by), columns).split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--by", "user"), "'user' is not one of"),
        (("--by", "client", "--window", "2m"), "'2m' is not one of"),
        (("--by", "client", "--sort", "rack"), "sorted by bytes, ops, p99"),
        (("--by", "client", "-n", "0"), "1 to 1000 rows"),
        (("--window", "1h"), "--window goes with --by"),
        (("--sort", "p99"), "--sort p99 goes with --by"),
    ],
)
def test_words_that_do_not_fit_together_are_refused(
    gfsctl: Gfsctl, words: tuple[str, ...], said: str
) -> None:
    assert said in gfsctl.refused(2, "admin", "top", *words)


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
def test_every_form_of_the_table_is_there(gfsctl: Gfsctl, mode: str) -> None:
    for by in ("client", "path", "op"):
        text = gfsctl.ok("admin", "top", "--by", by, "-o", mode).out.decode()
        if text or mode not in ("jsonl", "name"):  # Nobody may have asked for a path yet.
            assert text.lstrip().startswith("{") == (mode in ("json", "jsonl"))


def test_two_clients_are_named_with_what_they_really_moved(gfsctl: Gfsctl, tmp_path: Path) -> None:
    mark = uuid4().hex[:8]
    writer, reader = f"writer-{mark}", f"reader-{mark}"
    moved = {writer: 6 * MIB, reader: 2 * MIB}
    (tmp_path / "big").write_bytes(bytes(range(256)) * (6 * MIB // 256))
    (tmp_path / "small").write_bytes(b"x" * 2 * MIB)
    for name in moved:
        text = gfsctl.config.read_text()
        assert "[client]" not in text
        (tmp_path / f"{name}.toml").write_text(f'{text}\n[client]\nname = "{name}"\n')
    gfsctl.ok("mkdir", "-p", f"/usage-{mark}/a/b")
    gfsctl.ok("put", tmp_path / "small", f"/usage-{mark}/a/small")
    with gfs_ha.connect(tmp_path / f"{writer}.toml") as cluster:
        cluster.put(tmp_path / "big", f"/usage-{mark}/a/b/big")
    with gfs_ha.connect(tmp_path / f"{reader}.toml") as cluster:
        cluster.get(f"/usage-{mark}/a/small", tmp_path / "back")
    counted: dict[str, UsageRow] = {}

    def told() -> bool:
        report = gfsctl.library.operations.usage.top("client", "1h", "bytes", 1000)
        counted.update({row.name: row for row in report.items})
        # Each server tells every few seconds, not all at once.
        return all(
            name in counted and counted[name].bytes + counted[name].bytes_missed >= least
            for name, least in moved.items()
        )

    wait_until(told, "the servers to have told what both moved")
    (commands,) = (one for one in counted if "@" in one and ":" not in one)
    assert counted[commands].operations >= 2, "one row for all commands of one person"
    for name, least in moved.items():
        # What a slow machine made a client send twice was moved twice.
        assert counted[name].bytes <= 2 * least, counted[name]

    def below() -> bool:
        # Opened again, as another master may lead by now.
        assert len(gfsctl.ok("cat", f"/usage-{mark}/a/small").out) == 2 * MIB
        report = gfsctl.library.operations.usage.top("path", "1h", "bytes", 1000)
        [size] = [row.bytes for row in report.items if row.name == f"/usage-{mark}/a"] or [0]
        return size > 0 and size % (2 * MIB) == 0

    wait_until(below, "the leader to have counted what was opened")
