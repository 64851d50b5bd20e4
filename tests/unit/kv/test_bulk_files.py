"""Big files are written and removed in steps that leave commits beside them their turns (D5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gfs_ha.kv.bulk_files import WINDOW_BYTES, remove_in_steps, write_in_windows

SIZE = 5 * WINDOW_BYTES + 123


def piped(tmp_path: Path) -> int:
    """Return a descriptor that gives SIZE bytes."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZE))
    return os.open(source, os.O_RDONLY)


def test_every_window_is_waited_for_before_the_next_is_written(tmp_path: Path) -> None:
    waited: list[tuple[int, int, int]] = []

    def write_back(number: int, offset: int, length: int) -> None:
        waited.append((offset, length, os.fstat(number).st_size))

    source = piped(tmp_path)
    try:
        assert write_in_windows(source, tmp_path / "copy", lambda: False, write_back)
    finally:
        os.close(source)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    end = 0
    for offset, length, size in waited:
        assert offset == end and length <= WINDOW_BYTES
        end = offset + length
        assert size == end, "nothing beyond the window is dirty"
    assert end == SIZE


def test_real_write_back_takes_what_a_pipe_gives_in_small_pieces(tmp_path: Path) -> None:
    source, sink = os.pipe()
    os.write(sink, b"a" * 10)
    os.write(sink, b"b" * 10)
    os.close(sink)
    try:
        assert write_in_windows(source, tmp_path / "copy", lambda: False)
    finally:
        os.close(source)
    assert (tmp_path / "copy").read_bytes() == b"a" * 10 + b"b" * 10


def test_a_copy_ends_early_when_it_is_told_to(tmp_path: Path) -> None:
    answers = iter([False, False, True])
    source = piped(tmp_path)
    try:
        assert not write_in_windows(source, tmp_path / "copy", lambda: next(answers))
    finally:
        os.close(source)
    assert (tmp_path / "copy").stat().st_size == 2 * WINDOW_BYTES


def test_a_failed_write_back_is_told(tmp_path: Path) -> None:
    def write_back(number: int, offset: int, length: int) -> None:
        raise OSError(5, "the disk is broken")

    source = piped(tmp_path)
    try:
        with pytest.raises(OSError, match="broken"):
            write_in_windows(source, tmp_path / "copy", lambda: False, write_back)
    finally:
        os.close(source)


def test_a_big_file_gets_shorter_step_by_step_before_it_goes(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(21 * WINDOW_BYTES)
    sizes: list[int] = []
    remove_in_steps(big, lambda seconds: sizes.append(big.stat().st_size))
    assert sizes == [count * WINDOW_BYTES for count in (17, 13, 9, 5, 1)]
    assert not big.exists()
    remove_in_steps(big)
