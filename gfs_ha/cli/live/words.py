"""Numbers of live screens as people read them (pure): rates, times, marks for what is unknown."""

from __future__ import annotations

from gfs_ha.cli.live.spans import BAD, FAINT, GOOD, PLAIN, WARN, Span
from gfs_ha.cli.units import count_text, duration_text, size_text
from gfs_ha.protocol.server_modes import EMPTY, IN_SERVICE, LEAVING

NOTHING = "-"
_STATES = {"live": GOOD, "suspect": WARN, "dead": BAD, "unheard": FAINT}


def latency_text(microseconds: int | None) -> str:
    """Return a short time: `0.42 ms`, `12 ms`, `1.3 s`; `-` when nothing was served."""
    if microseconds is None:
        return NOTHING
    if microseconds < 10_000:
        return f"{microseconds / 1000:.2f} ms"
    if microseconds < 100_000:
        return f"{microseconds / 1000:.1f} ms"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.0f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def rate_text(bytes_per_s: float) -> str:
    """Return bytes per second; `-` for none."""
    return f"{size_text(bytes_per_s)}/s" if bytes_per_s > 0 else NOTHING


def rate_span(bytes_per_s: float) -> Span:
    """Return bytes per second as a cell of a table."""
    return rate_text(bytes_per_s), PLAIN if bytes_per_s > 0 else FAINT


def often_text(per_s: float) -> str:
    """Return how often something happens in a second; `-` for never."""
    if per_s <= 0:
        return NOTHING
    return f"{count_text(int(per_s + 0.5))}/s" if per_s >= 10 else f"{per_s:.1f}/s"


def bar_text(share: float, width: int = 10) -> str:
    """Return a share as a bar, thin enough that bars below each other stay apart."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "─" * (width - filled)


def age_words(milliseconds: int) -> str:
    """Return an age without `ago`; `-` of a negative one: who answers has not heard it yet."""
    return NOTHING if milliseconds < 0 else duration_text(milliseconds)


def brief_age(milliseconds: int) -> str:
    """Return an age in its largest unit, as wide as others: `0.4 s`, `12 m`, `3 h`, `-`."""
    return " ".join(age_words(milliseconds).split(" ")[:2])


def state_span(state: str, mode: str = IN_SERVICE, maintenance: bool = False) -> Span:
    """Return how a server is, and how it stands if that is news."""
    told = [state]
    style = _STATES.get(state, PLAIN)
    if mode != IN_SERVICE:
        told.append(mode)
    if maintenance:
        told.append("maintenance")
    if state == "live" and len(told) > 1:
        # That it lives goes without saying then.
        told = told[1:]
        style = WARN if mode in LEAVING or maintenance else FAINT if mode in EMPTY else style
    return ", ".join(told), style


def eta_text(milliseconds: int) -> str:
    """Return `ETA 6 m 2 s`, or nothing when it cannot be told."""
    return f"ETA {span_text(milliseconds)}" if milliseconds >= 0 else ""


def span_text(milliseconds: int) -> str:
    """Return a span of time; a second unit of which there is none is left out: `41 m`."""
    text = duration_text(milliseconds)
    for nothing in (" 0 s", " 0 m", " 0 h"):
        text = text.removesuffix(nothing)
    return text
