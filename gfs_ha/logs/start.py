"""Where log lines go: standard error, or a file of bounded size that turns over.

A line is a constant message with its facts as key=value, so that one can search for either.
INFO: a person may want it tomorrow. WARNING: handled, but odd. ERROR: someone must act.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from gfs_ha.errors import ConfigError
from gfs_ha.limits import MIB
from gfs_ha.logs.formats import FORMATS, TEXT, formatter
from gfs_ha.logs.priorities import PriorityFormatter, is_journal
from gfs_ha.logs.ring import LogRing

LOG_BYTES_MAX = 8 * MIB  # Of one file; with the files kept behind it a log is 4 times that.
LOG_FILES_KEPT = 3
LEVELS = ("debug", "info", "warning", "error")


class BoundedFileHandler(RotatingFileHandler):
    """A log file that turns over. A log that cannot be written says so once, not per line."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            maxBytes=LOG_BYTES_MAX,
            backupCount=LOG_FILES_KEPT,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._told = False
        self._bounded = Path(path).is_file()  # What is no file does not turn over.
        self._length = Path(path).stat().st_size if self._bounded else 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a file that is full turns over before it.

        The standard handler makes each line twice and asks the system five times: half the cost.
        """
        try:
            line = self.format(record) + self.terminator
            length = len(line.encode("utf-8", "backslashreplace"))
            if self._bounded and self._length and self._length + length > self.maxBytes:
                self._turn_over()
                self._length = 0
            self._length += length
            if self.stream is None:  # It could not be opened when it turned over.
                self.stream = self._open()
            self.stream.write(line)
            self.flush()
        except Exception:
            self.handleError(record)

    def _turn_over(self) -> None:
        """Begin a new file; where the old one cannot be put aside, in its place.

        As where only the file is ours and not its directory: bounded, and the newest lines count.
        """
        try:
            self.doRollover()
        except OSError as error:
            self._tell(f"cannot be put aside and begins anew each time it is full: {error}")
            if self.stream is not None:
                self.stream.close()
            with suppress(FileNotFoundError):  # It was put aside, and a new one not opened.
                os.truncate(self.baseFilename, 0)
            self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:
        self._tell(f"cannot be written: {sys.exc_info()[1]}")

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._tell(f"cannot be written: {error}")

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            print(f"the log {self.baseFilename} {what}", file=sys.stderr)


def start_logging(
    process_name: str,
    level: str = "info",
    file: Path | None = None,
    form: str = TEXT,
    keep: bool = False,
) -> None:
    """Send the log of this process to `file`, or to standard error. Later calls replace it.

    Args: `form` is one of FORMATS; with `keep` the newest lines are kept in memory as well, for
    who asks for them by the network.

    Raises: ConfigError when the file cannot be opened, or for a level that is none of LEVELS.
    """
    assert form in FORMATS, form
    if level not in LEVELS:
        raise ConfigError(f"{level!r} is no log level; levels are {', '.join(LEVELS)}")
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handler = BoundedFileHandler(file)
        except OSError as error:
            raise ConfigError(f"{file}: cannot write the log: {error.strerror}") from error
    lines = formatter(form, process_name)
    if file is None and is_journal(os.environ, 2):
        lines = PriorityFormatter(lines)
    handler.setFormatter(lines)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    if keep:
        root.addHandler(LogRing())
    root.setLevel(level.upper())
    logging.captureWarnings(True)
