"""What is asked of a master, or of a chunkserver by its data port, about its newest log lines."""

from __future__ import annotations

from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.limits import KIB
from gfs_ha.protocol.codec import Word, decode, encode, prepare

DEBUG, INFO, WARNING, ERROR, CRITICAL = "debug", "info", "warning", "error", "critical"
LEVELS = (DEBUG, INFO, WARNING, ERROR, CRITICAL)
PAGE_BYTES_MAX = 24 * KIB  # Fits in a frame of a data port; one line is always sent.
LINE_BYTES_MAX = 20 * KIB
QUERY_BYTES_MAX = 4 * KIB  # Of the request on a data port.
PATTERN_CHARACTERS_MAX = 200


class LogLine(Word, frozen=True):
    """One line as it was logged; its number grows by one from line to line."""

    number: int
    time_ms: int  # Wall time of the machine that wrote it, since 1970.
    level: str  # One of LEVELS.
    module: str
    text: str
    trace_id: TraceId = NO_TRACE


class ReadLog(Word, frozen=True, tag="read_log"):
    """-> LogPage: lines that this process keeps in memory, the oldest first.

    Answered by every process for itself. Raises: InvalidArgument, NotReady where none are kept.
    """

    after: int = 0  # Only lines with greater numbers, of the run below; of another run all.
    run: int = 0
    newest: int = 0  # Begin with that many of the newest that are wanted; 0: with the oldest.
    level: str = DEBUG  # Such lines, and worse ones.
    pattern: str = ""  # Stands somewhere in the line, in small letters or capitals.
    since_ms: int = 0
    trace_id: TraceId = NO_TRACE  # Only lines of this one.


class LogPage(Word, frozen=True, tag="log_page"):
    """Some lines, and where to go on."""

    node: str
    run: int  # Random, of one run of the process.
    lines: tuple[LogLine, ...]
    next: int  # What to ask for as `after`.
    more: bool = False  # There are further ones now.
    lost: int = 0  # Lines after the asked number that are not kept any more.


LogRequest = ReadLog
LogReply = LogPage


def encode_query(wanted: ReadLog) -> bytes:
    """Return what follows the request on a data port."""
    return encode(wanted)


def decode_query(body: bytes) -> ReadLog:
    """Return what is asked on a data port. Raises: ProtocolError."""
    return decode(ReadLog, body)


def encode_page(page: LogPage) -> bytes:
    """Return the body of a LOG frame."""
    return encode(page)


def decode_page(body: bytes) -> LogPage:
    """Return what a LOG frame says. Raises: ProtocolError."""
    return decode(LogPage, body)


prepare(ReadLog, LogPage)
