"""One daemon under attack: its memory and descriptors, its log, what it counts."""

from __future__ import annotations

import re
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

from hostile.attack import Told

_SCRAPE_S = 10.0
_PAGE_S = 30.0  # A busy daemon may turn a question away, or be late.
_LOOK_S = 0.3


class Daemon:
    """A running process of a local cluster."""

    def __init__(self, name: str, pid: int, log: Path, metrics_port: int) -> None:
        self.name = name
        self._pid = pid
        self._log = log
        self._metrics_port = metrics_port

    def rss_mib(self) -> float:
        return self._status("VmRSS") / 1024

    def peak_mib(self) -> float:
        return self._status("VmHWM") / 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))

    def alive(self) -> bool:
        """Return whether it runs, and says itself that all of its loops turn."""
        try:
            self._page("livez")
            return True
        except (OSError, HTTPException):
            return False

    def mark(self, told: Told) -> tuple[int, float]:
        """Return where the log and the counters stand."""
        return self._log.stat().st_size, self.count(told)

    def tells(
        self, told: Told, mark: tuple[int, float], tries: int, line_s: float, patience_s: float
    ) -> str:
        """Return what tells of so many tries since the mark, "" when nothing does in time.

        Args: `line_s` is how long a line is waited for once all is counted.
        """
        offset, before = mark
        ends_s = time.monotonic() + patience_s
        while True:
            counted = self.count(told) - before
            line = self.line(told, offset)
            if (not told.counters or counted >= tries) and (not told.line or line):
                break
            now_s = time.monotonic()
            if now_s > ends_s:
                return ""
            if told.counters and counted >= tries:
                ends_s = min(ends_s, now_s + line_s)
            time.sleep(_LOOK_S)
        names = " + ".join(one.removesuffix("_total") for one in told.counters)
        found = f"{names} +{counted:.0f}" if told.counters else ""
        return "; ".join(one for one in (found, line) if one)

    def count(self, told: Told) -> float:
        """Return how far the counters have come, together."""
        if not told.counters:
            return 0.0
        text = self._page("metrics")
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.rpartition(" ")[0] in told.counters
        )

    def line(self, told: Told, offset: int) -> str:
        """Return the first line since `offset` that tells of it, without its time."""
        if not told.line:
            return ""
        with self._log.open("rb") as log:
            log.seek(offset)
            text = log.read().decode("utf-8", "replace")
        wanted = re.compile(told.line)
        for line in text.splitlines():
            if wanted.search(line):
                return line.partition(": ")[2] or line
        return ""

    def mistakes(self, offset: int) -> list[str]:
        """Return the lines since `offset` that speak of a mistake of ours."""
        with self._log.open("rb") as log:
            log.seek(offset)
            text = log.read().decode("utf-8", "replace")
        return [one for one in text.splitlines() if " ERROR " in one or "Traceback" in one]

    def _page(self, name: str) -> str:
        """Return a page of its port. Raises: OSError, HTTPException when there is none for long."""
        ends_s = time.monotonic() + _PAGE_S
        url = f"http://127.0.0.1:{self._metrics_port}/{name}"
        while True:
            try:
                with urllib.request.urlopen(url, timeout=_SCRAPE_S) as page:
                    return str(page.read().decode())
            except (OSError, HTTPException):
                if time.monotonic() > ends_s:
                    raise
            time.sleep(_LOOK_S)

    def _status(self, field: str) -> int:
        text = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii")
        (line,) = (one for one in text.splitlines() if one.startswith(field + ":"))
        return int(line.split()[1])
