"""The two shapes of a log line: text for people, JSON for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from gfs_ha.ids import format_trace
from gfs_ha.logs.facts import line_text, lines_below, trace_of, words_and_facts

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)


class TextFormatter(logging.Formatter):
    """One line per record: UTC time, level, process, module, message.

    A traceback follows it, each line of it behind blanks.
    """

    def __init__(self, process_name: str) -> None:
        super().__init__()
        self._process_name = process_name

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. What came from outside cannot begin a line of its own."""
        line = (
            f"{_time(record)} {record.levelname} {self._process_name} {module_of(record)}:"
            f" {line_text(record)}"
        )
        trace_id = trace_of(record)
        if trace_id:
            line += f" trace={format_trace(trace_id)}"
        if record.exc_info:
            line = f"{line}\n{lines_below(self.formatException(record.exc_info))}"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, process, module, message, fields, and then, if there
    is one, trace and traceback.
    """

    def __init__(self, process_name: str) -> None:
        super().__init__()
        self._process_name = process_name

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        words, facts = words_and_facts(record)
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "process": self._process_name,
            "module": module_of(record),
            "message": words,
            "fields": facts,
        }
        trace_id = trace_of(record)
        if trace_id:
            told["trace"] = format_trace(trace_id)
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=True)


def formatter(form: str, process_name: str) -> logging.Formatter:
    """Return what makes lines of one of FORMATS."""
    return JsonFormatter(process_name) if form == JSON else TextFormatter(process_name)


def module_of(record: logging.LogRecord) -> str:
    """Return which module of ours wrote the line."""
    return record.name.removeprefix("gfs_ha.")


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return f"{when[:-6]}Z"
