"""How errors end a command: one line a person can act on (or JSON), and an exit status."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback

import click

from gfs_ha.cli import output
from gfs_ha.cli.interrupt import Interrupted
from gfs_ha.cli.names import printable
from gfs_ha.errors import (
    AlreadyExists,
    Denied,
    DiskFailed,
    DiskFull,
    GfsError,
    IsADirectory,
    LocalError,
    NotADirectory,
    NotFound,
    UsageError,
)

_BY_ERRNO: dict[int, type[GfsError]] = {
    errno.ENOENT: NotFound,
    errno.EEXIST: AlreadyExists,
    errno.EISDIR: IsADirectory,
    errno.ENOTDIR: NotADirectory,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EIO: DiskFailed,
    errno.ENAMETOOLONG: UsageError,
}

_NO_NUMBERS = (  # In click's words, and in ours.
    ("is not a valid float range", "is no number"),
    ("is not a valid float", "is no number"),
    ("is not a valid integer range", "is no whole number"),
    ("is not a valid integer", "is no whole number"),
)

_TRACE_NOTE = "trace "

# What is wrong with the cluster rather than with the command: the cause lies elsewhere.
_WORTH_EXPLAINING = {
    *("NoLeader", "NoServers", "NoSpace", "TooFewCopies", "UnknownOutcome", "DeadlineExceeded"),
    *("ChunkUnavailable", "CorruptData", "SessionExpired", "StateDiverged", "OldCopy"),
    *("NewerIncarnation", "InternalError", "ProtocolError", "NotInitialized"),
}


def conclude(error: BaseException, machine_readable: bool, verbose: bool) -> int:
    """Tell the person (or the program) why the command ended; return the exit status."""
    if isinstance(error, output.ClosedPipe):
        output.silence()
        return 0
    if verbose and not isinstance(error, click.ClickException):
        traceback.print_exception(error, file=sys.stderr)
    code, message, status, retryable = _described(error)
    trace = _trace_of(error)
    if machine_readable:
        told = {"error": {"code": code, "message": message, "retryable": retryable}}
        if isinstance(error, GfsError) and error.details:
            told["error"]["details"] = dict(error.details)
        if trace:
            told["error"]["trace"] = trace
        sys.stderr.write(json.dumps(told, ensure_ascii=True) + "\n")
    else:
        behind = [code] if verbose else _hint(code)
        if trace and behind:
            behind.append(f"trace {trace}")
        output.say(f"{message} ({'; '.join(behind)})" if behind else message)
    return status


def note_trace(error: BaseException, trace: str) -> None:
    """Note by which trace id the servers' logs tell of the command that an error ended."""
    error.add_note(f"{_TRACE_NOTE}{trace}")


def _trace_of(error: BaseException) -> str:
    """Return the trace id that was noted, or an empty string."""
    notes: list[str] = getattr(error, "__notes__", [])
    return next((n.removeprefix(_TRACE_NOTE) for n in notes if n.startswith(_TRACE_NOTE)), "")


def _hint(code: str) -> list[str]:
    """Return where more is said about an error whose line alone does not say what to do."""
    return [f"gfsctl explain {code}"] if code in _WORTH_EXPLAINING else []


def _described(error: BaseException) -> tuple[str, str, int, bool]:
    """Return code, message, exit status and whether a retry can help."""
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "gfsctl"
        # Click lists what may be chosen on lines of their own.
        message = " ".join(line.strip() for line in error.format_message().split("\n"))
        for clumsy, plain in _NO_NUMBERS:
            message = message.replace(clumsy, plain)
        return "UsageError", f"{message.rstrip('.')} (see {where} --help)", 2, False
    if isinstance(error, click.ClickException):
        return "UsageError", error.format_message(), 2, False
    if isinstance(error, Interrupted):
        return "Interrupted", f"stopped by {error}", error.exit_status, True
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "Interrupted", f"stopped by {str(error) or 'SIGINT'}", 130, True
    if isinstance(error, OSError):
        error = local_error(error)
    if isinstance(error, GfsError):
        return error.code, _one_line(error.message), error.exit_status, error.retryable
    text = _one_line(f"{type(error).__name__}: {error}")
    return "InternalError", f"internal error, {text}; -v shows where", 1, False


def local_error(error: OSError) -> GfsError:
    """Return an error of this machine's files as one of ours, naming the file."""
    kind = _BY_ERRNO.get(error.errno or 0, LocalError)
    name = error.filename
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return kind(f"{printable(str(name))}: {reason}" if name else reason)


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")).strip()
