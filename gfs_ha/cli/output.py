"""Standard output and standard error: bytes out, a closed pipe as an ordinary end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from gfs_ha.cli.names import printable
from gfs_ha.errors import DiskFull, LocalError


class ClosedPipe(Exception):
    """Nobody reads standard output any more; the command ends quietly."""


_capture: bytearray | None = None


@contextmanager
def captured() -> Iterator[bytearray]:
    """Gather what is written to standard output, and said, for who draws it on a screen."""
    global _capture
    _capture = gathered = bytearray()
    try:
        yield gathered
    finally:
        _capture = None


def write(*pieces: bytes | memoryview) -> None:
    """Write bytes to standard output. Raises: ClosedPipe, DiskFull, LocalError."""
    if _capture is not None:
        for piece in pieces:
            _capture.extend(piece)
        return
    if sys.stdout is None:
        raise LocalError("standard output is closed")
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
    except OSError as error:
        raise _translated(error) from error


def write_pieces(pieces: Iterable[bytes]) -> None:
    """Write bytes as they come. Raises: as `write`."""
    for piece in pieces:
        write(piece)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines of text to standard output, whatever the terminal's encoding is called."""
    for line in lines:
        write(line.encode("utf-8", "surrogateescape"), b"\n")


def write_names(names: Iterable[str]) -> None:
    """Write names for programs, each as it is; a terminal gets them as it may show them."""
    write_lines(map(printable, names) if stdout_is_terminal() else names)


def flush() -> None:
    """Hand everything that was written to the system. Raises: as `write`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _translated(error) from error


def silence() -> None:
    """Send what is still buffered for a closed pipe nowhere, so that the exit says nothing."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        return  # No real descriptor below (a test's buffer): nothing can complain later.


def say(text: str) -> None:
    """Write one line to standard error; without one there is nobody to tell."""
    if _capture is not None:
        write(f"gfsctl: {printable(text)}\n".encode("utf-8", "replace"))
        return
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"gfsctl: {printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        return


def overwrite(text: str) -> None:
    """Show one line on a terminal's standard error in the place of the one before; "" clears it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"\r{printable(text)}\x1b[K")
        sys.stderr.flush()
    except OSError:
        return


def check_read() -> None:
    """Raise ClosedPipe when nobody reads standard output any more.

    For who may have nothing to write for long.
    """
    from gfs_ha.net.sockets import wait_for

    try:
        broken = wait_for(cast(Any, sys.stdout), 0, 0.0)  # Asked for nothing, it tells the worst.
    except (OSError, ValueError, TypeError, AttributeError):
        return  # A stream without a descriptor.
    if broken:
        raise ClosedPipe


def stdout_is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def stderr_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _translated(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return ClosedPipe()
    kind = DiskFull if error.errno == 28 else LocalError
    return kind(f"cannot write standard output: {os.strerror(error.errno or 0)}")
