"""Lines of checksums, and which word is here and which in the cluster (no cluster needed)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs_ha.cli.data.checksum_lines import Expected, line_of, parse_line
from gfs_ha.cli.data.sides import Sides, sides_of
from gfs_ha.cli.options import Options
from gfs_ha.cli.session import Session
from gfs_ha.errors import GfsError, UsageError

CONFIG = """
[cluster]
id = "prod"
[[cluster.masters]]
name = "m1"
host = "127.0.0.1"
port = 7001
raft_port = 7101
"""


@given(st.text(min_size=1), st.integers(0, 0xFFFFFFFF))
def test_a_line_says_what_went_into_it(name: str, crc: int) -> None:
    line = line_of(f"{crc:08x}", name)
    assert "\n" not in line and "\r" not in line
    assert parse_line(line) == Expected(name, crc)


def test_lines_look_as_those_of_sha256sum() -> None:
    assert line_of("e3069283", "a b") == "e3069283  a b"
    assert line_of("e3069283", "a\\b\nc") == "\\e3069283  a\\\\b\\nc"
    assert parse_line("E3069283 *binary") == Expected("binary", 0xE3069283)


@pytest.mark.parametrize("line", ["", "e3069283", "e3069283  ", "xyz  a", "e306928  a", "# note"])
def test_other_lines_are_none_of_ours(line: str) -> None:
    assert parse_line(line) is None


@pytest.fixture
def session(tmp_path: Path) -> Session:
    file = tmp_path / "gfs.toml"
    file.write_text(CONFIG)
    return Session(Options(config=str(file)))


@pytest.mark.parametrize(
    ("words", "sides"),
    [
        (("src", "/a"), Sides("src", "/a", True)),
        (("/a/", "src"), Sides("src", "/a", False)),
        (("./-x", "/"), Sides("./-x", "/", True)),
        (("/here", "/there"), Sides("/here", "/there", True)),
        (("gfs://prod/a", "/here"), Sides("/here", "/a", False)),
        (("/here", "gfs://prod/a"), Sides("/here", "/a", True)),
        (("gfs://prod/a", "here"), Sides("here", "/a", False)),
        ((".", "gfs://prod/a"), Sides(".", "/a", True)),
    ],
)
def test_which_word_is_here(session: Session, words: tuple[str, str], sides: Sides) -> None:
    assert sides_of(session, *words) == sides


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a", "b"), "both here"),
        (("gfs://prod/a", "gfs://prod/b"), "cp copies within a cluster"),
        (("", "/a"), "empty path"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    session: Session, words: tuple[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        sides_of(session, *words)


def test_another_cluster_is_refused(session: Session) -> None:
    with pytest.raises(GfsError):
        sides_of(session, "here", "gfs://other/a")
