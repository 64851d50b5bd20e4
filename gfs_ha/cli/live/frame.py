"""One frame of the live screen (pure): what is seen and a size become as many lines as there are.

No line is longer than the screen is wide. Without a leader all that is old is faint, and the first
line says since when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gfs_ha.cli.live.details import detail_page, title_of
from gfs_ha.cli.live.help import help_lines
from gfs_ha.cli.live.history import POINTS_MAX, sparkline, unseen
from gfs_ha.cli.live.look import FILTER, SERVERS, TABS, Look
from gfs_ha.cli.live.page import Page
from gfs_ha.cli.live.sight import Sight
from gfs_ha.cli.live.spans import (
    ACCENT,
    BAD,
    CHOSEN,
    FAINT,
    PLAIN,
    STRONG,
    WARN,
    Line,
    Span,
    all_styled,
    cells,
    clip,
    cut,
    cut_middle,
    cut_path,
    fit,
    length,
    line,
    plain,
    spread,
)
from gfs_ha.cli.live.summary import below_goal, health_span, repair_piece, servers_pieces
from gfs_ha.cli.live.tabs import tab_page, tab_titles
from gfs_ha.cli.live.words import NOTHING, latency_text, often_text, rate_text
from gfs_ha.cli.units import count_text, duration_text
from gfs_ha.protocol.live import LiveReport
from gfs_ha.protocol.rates import ServedRate

COLUMNS_MIN, ROWS_MIN = 40, 10
_TALL = 20  # Rows from which on the sparklines are shown ...
_AIRY = 28  # ... and an empty line above the tabs.
_NUMBERS = 51  # Columns beside a sparkline.
_SPARK_MAX = POINTS_MAX
_UNSEEN = "·"


@dataclass(frozen=True, slots=True)
class Frame:
    """The lines of a screen, and what keys need to know of it."""

    lines: tuple[Line, ...]
    page: Page
    rows: int  # Of items that the page has room for.


def draw(look: Look, sight: Sight, size: tuple[int, int], now: tuple[float, str]) -> Frame:
    """Return a frame. Args: `size` is (columns, rows); `now` the monotonic time, and time of day.

    Choice and top of the page are brought to what there is.
    """
    columns, rows = size
    if columns < COLUMNS_MIN or rows < ROWS_MIN:
        told = cut(f"the terminal is too small: {columns}x{rows}", columns)
        blank: list[Line] = [()] * max(0, rows - 1)
        return Frame((((told, WARN),), *blank), Page(), 0)
    absent_s = sight.absent_s(now[0])
    head = _head(look, sight, size, (absent_s, now[1]))
    if look.help:
        page, body = Page(), help_lines(columns)
        space = 0
    else:
        target = look.target
        made = tab_page(look, sight, columns)
        page = made if target is None else detail_page(target, sight, columns)
        space = max(1, rows - len(head) - len(page.head) - 1)
        look.settle(page, space)
        body = [*page.head, *_items(look, page, space, columns)]
    if absent_s and not look.help:
        body = [all_styled(one, FAINT) if _is_data(one) else one for one in body]
    body = body[: rows - len(head) - 1]
    filled: list[Line] = [*head, *body, *[()] * (rows - len(head) - len(body) - 1)]
    lines = [clip(one, columns) for one in [*filled, _foot(look, page, columns)]]
    return Frame(tuple(lines), page, space)


def _is_data(spans: Sequence[Span]) -> bool:
    return not any(style == CHOSEN for _, style in spans)


def _items(look: Look, page: Page, space: int, columns: int) -> list[Line]:
    if not page.total:
        return [line((page.empty, FAINT))]
    place = look.place
    shown: list[Line] = []
    for at in range(place.top, min(page.total, place.top + space)):
        item = page.item(at)
        text: Line = line(("…", FAINT)) if item is None else item.line
        if at == place.chosen:
            text = ((fit(plain(text), columns), CHOSEN),)
        shown.append(text)
    return shown


# Above the page -----------------------------------------------------------------------------------


def _head(look: Look, sight: Sight, size: tuple[int, int], moment: tuple[float, str]) -> list[Line]:
    columns, rows = size
    absent_s, clock = moment
    live = sight.live
    lines = [_title(look, sight, columns, absent_s, clock)]
    if look.help:
        return [*lines, ()]
    if live is not None:
        told = [*_alert(live, columns), _servers_line(live, columns), _chunks_line(live, columns)]
        told += _load_lines(live, sight, columns) if rows >= _TALL else [_load_line(live, columns)]
        lines += [all_styled(one, FAINT) for one in told] if absent_s else told
    elif sight.failure:
        lines.append(line((sight.failure, WARN)))
    if rows >= _AIRY:
        lines.append(())
    lines.append(_tab_line(look, live, columns))
    return lines


def _title(look: Look, sight: Sight, columns: int, absent_s: float, clock: str) -> Line:
    live = sight.live
    right = [(f"{clock}  every {look.period_s:g} s", FAINT)]
    if look.paused:
        right.insert(0, ("PAUSED  ", WARN))
    if live is None:
        if not absent_s:
            return spread(line(("gfs-ha", STRONG), "  connecting"), right, columns)
        gone = f"no answer since {duration_text(absent_s * 1000)}"
        return spread(line(("gfs-ha", STRONG), "  ", (gone, BAD)), right, columns)
    status = live.status
    left: list[str | Span] = [(cut_middle(status.cluster_name, columns // 3), STRONG), "  "]
    if absent_s:
        # Who begins to look now is told for how long already, by the master that answers.
        told_ms = 0 if status.leader else max(status.leader_age_ms, live.age_ms)
        left.append((f"no leader since {duration_text(max(absent_s * 1000, told_ms))}", BAD))
        if not live.leads and not sight.failure:
            age = f", {live.age_ms / 1000:.1f} s old" if live.age_ms >= 0 else ""
            left.append((f"   {live.answered_by} answers{age}", WARN))
    else:
        age = duration_text(status.leader_age_ms)
        left += [health_span(status), f"  leader {status.leader} (term {status.term}, {age})"]
    return spread(line(*left), right, columns)


def _joined(pieces: Sequence[Sequence[Span]], columns: int) -> Line:
    """Return as many of the pieces as fit on one line."""
    told: list[Span] = []
    for piece in pieces:
        gap = [("   ", PLAIN)] if told else []
        if told and length(told) + 3 + length(piece) > columns:
            break
        told += [*gap, *piece]
    return clip(told, columns)


def _servers_line(live: LiveReport, columns: int) -> Line:
    told: list[Span] = []
    for named in (True, False):
        first, *pieces = servers_pieces(live.overview, brief=True, named=named)
        told = [(fit("servers", 8), FAINT), *first]
        if length(told) + sum(3 + length(piece) for piece in pieces[:-2]) <= columns:
            break  # Only racks and room may be left out; names before any count is.
    return _joined([told, *pieces], columns)


def _chunks_line(live: LiveReport, columns: int) -> Line:
    status, repair = live.status, live.overview.repair
    first: list[str | Span] = [(fit("chunks", 8), FAINT), count_text(status.chunk_count)]
    pieces = [line(*first)]
    if repair.copies or repair.lost or below_goal(live.overview):
        pieces.append(repair_piece(live.overview, "repair "))
    else:
        pieces.append(line(("all whole", FAINT)))
    if status.scrub is not None and status.scrub.found:
        pieces.append(line((f"{count_text(status.scrub.found)} bad found by scrub", BAD)))
    pieces.append(line(f"files {count_text(status.file_count)}"))
    leases = live.overview.leases
    if leases.ending:
        pieces.append(line((f"{count_text(leases.ending)} leases end within 10 s", WARN)))
    pieces.append(line(f"open {count_text(status.open_count)}"))
    return _joined(pieces, columns)


def _load_line(live: LiveReport, columns: int) -> Line:
    load = live.overview.load
    return _joined(
        [
            line((fit("clients", 8), FAINT), f"read {rate_text(load.read.bytes_per_s)}"),
            line(f"put {rate_text(load.put_bytes_per_s)}"),
            line(f"append {rate_text(load.append.bytes_per_s)}"),
            line(f"queue {count_text(load.queue)}"),
        ],
        columns,
    )


def _load_lines(live: LiveReport, sight: Sight, columns: int) -> list[Line]:
    load = live.overview.load
    width = min(_SPARK_MAX, max(10, columns - 10 - _NUMBERS))
    lines = [
        _spark(word, sight, width, _served(rate, bytes_per_s))
        for word, rate, bytes_per_s in (
            ("read", load.read, load.read.bytes_per_s),
            ("put", load.write, load.put_bytes_per_s),
            ("append", load.append, load.append.bytes_per_s),
        )
    ]
    p99 = max((one.p99_us or 0 for one in (load.read, load.write, load.append)), default=0)
    worst = latency_text(p99 or None)
    lines.append(_spark("p99", sight, width, [f"{worst:>12}", ("  of the slowest kind", FAINT)]))
    waiting = count_text(load.queue) if load.queue else NOTHING
    lines.append(_spark("queue", sight, width, [f"{waiting:>12}", ("  under way", FAINT)]))
    return lines


def _spark(word: str, sight: Sight, width: int, numbers: Sequence[str | Span]) -> Line:
    values = sight.history.of(word)
    blank = unseen(values, width)
    bars = sparkline(values, width)[blank:]
    return line((fit(word, 8), FAINT), (_UNSEEN * blank, FAINT), (bars, ACCENT), "  ", *numbers)


def _served(rate: ServedRate, bytes_per_s: int) -> list[str | Span]:
    if not rate.per_s:
        return [(f"{NOTHING:>12}", FAINT)]
    often = often_text(rate.per_s)
    p50, p99 = latency_text(rate.p50_us), latency_text(rate.p99_us)
    return [
        f"{rate_text(bytes_per_s):>12}  {often:>9}",
        *(("  p50 ", FAINT), f"{p50:>8}"),
        *(("  p99 ", FAINT), f"{p99:>7}"),
    ]


def _alert(live: LiveReport, columns: int) -> list[Line]:
    known = [one for one in live.status.health.items if not one.muted_ms]
    findings = sorted(known, key=lambda one: one.severity != "error")
    if not findings:
        return []
    first = findings[0]
    style = BAD if first.severity == "error" else WARN
    more = f"  and {len(findings) - 1} more" if len(findings) > 1 else ""
    told = cut(f"{first.code}  {first.message}", columns - 8 - len(more))
    code, _, rest = told.partition(" ")
    return [line((fit("alerts", 8), FAINT), (code, style), f" {rest}", (more, FAINT))]


def _tab_line(look: Look, live: LiveReport | None, columns: int) -> Line:
    target = look.target
    if target is not None:
        return _trail(look, columns)
    titles = tab_titles(live)
    with_counts = _tabs(look, {name: f" {titles[name]}" if titles[name] else "" for name in TABS})
    if length(with_counts) <= columns:
        return with_counts
    return clip(_tabs(look, dict.fromkeys(TABS, "")), columns)


def _trail(look: Look, columns: int) -> Line:
    """Return what was opened one after the other: what is seen now is told before all others."""
    *before, now = [look.tab_name, *(title_of(one) for one in look.stack)]
    left = columns - cells(now) - 2
    way = " > ".join(before)
    if cells(way) + 3 > left:
        way = cut_path(way, left - 3) if left >= 8 else ""
    return clip(line((f" {way} > " if way else " ", FAINT), (f"{now} ", STRONG)), columns)


def _tabs(look: Look, counts: dict[str, str]) -> Line:
    spans: list[Span] = []
    for number, name in enumerate(TABS, 1):
        style = CHOSEN if name == look.tab_name else FAINT
        spans += [(f" {number} {name}{counts[name]} ", style), (" ", PLAIN)]
    return tuple(spans)


# Below it -----------------------------------------------------------------------------------------


def _foot(look: Look, page: Page, columns: int) -> Line:
    if look.prompt is not None:
        name = "filter: " if look.prompt.kind == FILTER else "open (path, 0x…, r-19, server): "
        room = max(1, columns - len(name) - 1)
        typed = look.prompt.text[-room:]
        return line((name, STRONG), typed, (" ", CHOSEN))
    if look.said:
        return line((look.said, WARN))
    if look.help:
        return line(("any key goes back", FAINT))
    left: list[str | Span] = []
    if look.wanted and not look.stack:
        left.append((f"filter {look.wanted!r}  ", WARN))
    if look.tab_name == SERVERS and not look.stack:
        left.append((f"by {look.sort}{' reversed' if look.reverse else ''}  ", PLAIN))
    if page.total:
        left.append((f"{look.place.chosen + 1} of {count_text(page.total)}", FAINT))
    keys = "Esc back" if look.stack else "/ filter   Enter open"
    return spread(line(*left), [(f"{keys}   ? help   q quit", FAINT)], columns)
