"""A local file appears whole or not at all, whatever comes in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gfs_ha.client.local_files import LocalTarget
from gfs_ha.errors import GfsError


def written(path: Path) -> None:
    with LocalTarget(str(path), 7) as target:
        target.create()
        target.write(memoryview(b"new"), 0)
        target.commit(0o644, 10**18)


@pytest.mark.parametrize("call", ["open", "pwrite", "fchmod", "utime", "rename"])
def test_an_interrupt_right_after_any_call_leaves_no_part_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    real = getattr(os, call)
    numbers: list[int] = []

    def interrupted(*args: Any, **named: Any) -> None:
        done = real(*args, **named)
        if call == "open":
            numbers.append(done)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            written(path)
    for number in numbers:
        os.close(number)
    assert os.listdir(tmp_path) == ["f"]
    assert path.read_bytes() == (b"new" if call == "rename" else b"old")


def test_the_temporary_file_of_another_is_left_alone(tmp_path: Path) -> None:
    other = Path(LocalTarget(str(tmp_path / "f"), 7).temporary)
    other.write_bytes(b"theirs")
    with pytest.raises(GfsError):
        written(tmp_path / "f")
    assert other.read_bytes() == b"theirs" and os.listdir(tmp_path) == [other.name]


def test_what_keeps_it_from_being_made_is_told_with_the_name_that_was_asked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "below"
    with pytest.raises(GfsError, match=f"{target}:.*[Nn]ot a directory"):
        written(target)


def test_a_whole_file_has_its_bytes_and_time(tmp_path: Path) -> None:
    written(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert os.stat(tmp_path / "f").st_mtime_ns == 10**18 and os.listdir(tmp_path) == ["f"]
