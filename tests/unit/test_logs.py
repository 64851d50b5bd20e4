"""Log lines: bounded, one per record, to one place."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gfs_ha.errors import ConfigError
from gfs_ha.logs import start as logs
from gfs_ha.logs.facts import LINE_CHARACTERS_MAX

pytestmark = pytest.mark.usefixtures("logging_put_back")


def test_a_line_says_when_how_bad_who_and_what(tmp_path: Path) -> None:
    path = tmp_path / "log/m1.log"
    logs.start_logging("m1", "info", path)
    logger = logging.getLogger("gfs_ha.master.server")
    logger.info("lease granted chunk=%s primary=%s", "0x7", "cs1")
    logger.debug("not at this level")
    (line,) = path.read_text().splitlines()
    when, rest = line.split(" ", 1)
    assert when.endswith("Z") and len(when) == 24
    assert rest == "INFO m1 master.server: lease granted chunk=0x7 primary=cs1"


def test_what_comes_from_outside_begins_no_line_and_floods_none(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    logs.start_logging("m1", file=path)
    logging.getLogger("x").info("name=%s", "a\n2026 ERROR forged\x1b[31m" + "y" * 10_000)
    (line,) = path.read_text().splitlines()
    assert "name=a\\x0a2026 ERROR forged\\x1b[31m" in line
    assert len(line) < LINE_CHARACTERS_MAX + 200


def test_an_error_keeps_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    logs.start_logging("m1", file=path)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("x").exception("stopped")
    assert "ValueError: boom" in path.read_text()


def test_what_comes_from_outside_begins_no_line_in_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    logs.start_logging("m1", file=path)
    try:
        raise ValueError("no path\n2026-11-26T21:30:00.123Z ERROR m1 x: forged\r\x1b[31m")
    except ValueError:
        logging.getLogger("x").exception("stopped")
    first, *below = path.read_text().split("\n")[:-1]
    assert first.endswith("stopped") and below[0] == "    Traceback (most recent call last):"
    assert all(one.startswith("    ") for one in below)
    assert below[-1] == "    2026-11-26T21:30:00.123Z ERROR m1 x: forged\\x0d\\x1b[31m"


def test_a_log_turns_over_and_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    logs.start_logging("m1", file=path)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logs.BoundedFileHandler)
    handler.maxBytes = 1000
    for index in range(200):
        logging.getLogger("x").info("line index=%d", index)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + logs.LOG_FILES_KEPT
    assert all(file.stat().st_size <= 1000 for file in files)
    assert "index=199" in path.read_text()


def test_a_log_that_cannot_turn_over_keeps_the_newest_lines_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m1.log"
    for number in range(1, logs.LOG_FILES_KEPT + 1):  # In the way, as a right that is missing is.
        (tmp_path / f"m1.log.{number}").mkdir()
    logs.start_logging("m1", file=path)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logs.BoundedFileHandler)
    handler.maxBytes = 1000
    for index in range(200):
        logging.getLogger("x").info("line index=%d", index)
        assert f"index={index}\n" in path.read_text(), "none is lost"
        assert path.stat().st_size <= 1000
    (said,) = capsys.readouterr().err.splitlines()
    assert str(path) in said and "begins anew" in said


def test_a_log_that_cannot_be_written_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.start_logging("m1", file=Path("/dev/full"))
    for _ in range(3):
        logging.getLogger("x").info("line")
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_place_or_level_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write the log"):
        logs.start_logging("m1", file=tmp_path)
    with pytest.raises(ConfigError, match="no log level"):
        logs.start_logging("m1", level="loud")


def test_a_log_that_was_there_goes_on_and_still_turns_over_in_time(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    path.write_text("x" * 990 + "\n")
    logs.start_logging("m1", file=path)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logs.BoundedFileHandler)
    handler.maxBytes = 1000
    logging.getLogger("x").info("a line that does not fit any more, with ü and \ud800")
    assert (tmp_path / "m1.log.1").read_text().startswith("xxx")
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert line.endswith("with ü and \\ud800")
