"""What a person looks at, and what each key does to that (pure): tabs, pages, choice, prompts."""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.cli.live import keys
from gfs_ha.cli.live.page import Page
from gfs_ha.cli.live.sight import CHUNK, FILE, JOB, SERVER, Target
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.jobs import job_number
from gfs_ha.protocol.live import FILTER_BYTES_MAX, SORTS, GetLive

SERVERS, MASTERS, CHUNKS, JOBS = "Servers", "Masters", "Chunks", "Jobs"
LEASES, EVENTS = "Leases", "Events"
TABS = (SERVERS, MASTERS, CHUNKS, JOBS, LEASES, EVENTS)

QUIT, AGAIN, REDRAW, NOTHING = "quit", "again", "redraw", ""

PERIODS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FILTER, OPEN = "filter", "open"
_STACK_MAX = 20
_AHEAD = 2  # Screens of servers that are asked for beside the one that is seen.


@dataclass(slots=True)
class Place:
    """Where a page is: which item is chosen, and which one is at the top."""

    chosen: int = 0
    top: int = 0


@dataclass(slots=True)
class Prompt:
    """A line that is being typed."""

    kind: str
    text: str
    before: str  # What holds again after Esc.


@dataclass(slots=True)
class Look:
    """The state of one screen. `press` is all that changes it."""

    tab: int = 0
    sort: str = SORTS[0]
    reverse: bool = False
    filters: dict[str, str] = field(default_factory=dict)  # By tab.
    stack: list[Target] = field(default_factory=list)
    prompt: Prompt | None = None
    paused: bool = False
    help: bool = False
    period_s: float = 1.0
    said: str = ""  # What the last key could not do.
    places: dict[Target | str, Place] = field(default_factory=dict)

    @property
    def tab_name(self) -> str:
        return TABS[self.tab]

    @property
    def target(self) -> Target | None:
        """Return what is open, None = a tab."""
        return self.stack[-1] if self.stack else None

    @property
    def place(self) -> Place:
        """Return where the page is that is seen now."""
        return self.places.setdefault(self.target or self.tab_name, Place())

    @property
    def wanted(self) -> str:
        """Return the filter of the tab."""
        return self.filters.get(self.tab_name, "")

    def request(self, rows: int) -> GetLive:
        """Return what to ask for so that so many rows of servers can be shown."""
        target = self.target
        if self.tab_name != SERVERS:
            named = target is not None and target[0] == SERVER
            return (
                GetLive(wanted=str(target[1]), limit=20) if named and target else GetLive(limit=0)
            )
        first = max(0, self.place.top - rows)
        limit = min(250, max(1, rows) * (1 + _AHEAD))
        return GetLive(self.sort, self.reverse, self.filters.get(SERVERS, ""), first, limit)

    def settle(self, page: Page, rows: int) -> None:
        """Bring choice and top to what the page has and the screen can show."""
        place = self.place
        last = max(0, page.total - 1)
        place.chosen = min(max(0, place.chosen), last)
        if place.chosen < place.top:
            place.top = place.chosen
        if rows > 0 and place.chosen >= place.top + rows:
            place.top = place.chosen - rows + 1
        place.top = min(place.top, max(0, page.total - rows))

    def press(self, key: str, page: Page, rows: int) -> str:
        """Do what a key means. Returns what it asks of the loop."""
        self.said = ""
        if self.prompt is not None:
            return self._typed(key)
        if self.help:
            # Any key ends it, and only those that end all else go on.
            self.help = False
            return QUIT if key == "q" else NOTHING
        moved = self._moved(key, page, rows)
        if moved:
            return AGAIN
        return self._command(key, page)

    def _moved(self, key: str, page: Page, rows: int) -> bool:
        place = self.place
        steps = {
            keys.UP: -1,
            "k": -1,
            keys.DOWN: 1,
            "j": 1,
            keys.PAGE_UP: -max(1, rows - 1),
            keys.PAGE_DOWN: max(1, rows - 1),
            keys.HOME: -page.total,
            "g": -page.total,
            keys.END: page.total,
            "G": page.total,
        }
        if key not in steps:
            return False
        place.chosen += steps[key]
        self.settle(page, rows)
        return True

    def _command(self, key: str, page: Page) -> str:
        if key in ("q", "Q"):
            return QUIT
        if key == "?":
            self.help = True
        elif key == keys.REDRAW:
            return REDRAW
        elif key == " ":
            self.paused = not self.paused
        elif key in (keys.TAB, keys.RIGHT, "l"):
            return self._go(self.tab + 1)
        elif key in (keys.BACK_TAB, keys.LEFT, "h"):
            return self._go(self.tab - 1)
        elif key.isdigit() and 1 <= int(key) <= len(TABS):
            return self._go(int(key) - 1)
        elif key == keys.ENTER:
            return self._open(page)
        elif key in (keys.ESCAPE, keys.BACKSPACE):
            return self._back()
        elif key in ("s", "S", "r"):
            return self._sort(key)
        elif key in ("+", "=", "-"):
            return self._pace(key)
        elif key == "/":
            self.prompt = Prompt(FILTER, self.wanted, self.wanted)
        elif key in (":", "o"):
            self.prompt = Prompt(OPEN, "", "")
        else:
            self.said = "? shows the keys"
        return NOTHING

    def _go(self, tab: int) -> str:
        self.tab = tab % len(TABS)
        self.stack.clear()
        return AGAIN

    def _open(self, page: Page) -> str:
        item = page.item(self.place.chosen)
        if item is None or item.target is None:
            self.said = "there is nothing to open here"
            return NOTHING
        return self._push(item.target)

    def _push(self, target: Target) -> str:
        if len(self.stack) >= _STACK_MAX:
            del self.stack[0]
        self.stack.append(target)
        self.places[target] = Place()
        return AGAIN

    def _back(self) -> str:
        if self.stack:
            self.places.pop(self.stack.pop(), None)
            return AGAIN
        if self.wanted:
            self.filters[self.tab_name] = ""
            return AGAIN
        return NOTHING

    def _sort(self, key: str) -> str:
        if self.tab_name != SERVERS or self.stack:
            self.said = "only servers are sorted"
            return NOTHING
        if key == "r":
            self.reverse = not self.reverse
        else:
            step = 1 if key == "s" else -1
            self.sort = SORTS[(SORTS.index(self.sort) + step) % len(SORTS)]
            self.reverse = False
        self.places[SERVERS] = Place()
        return AGAIN

    def _pace(self, key: str) -> str:
        """Look more often, or more seldom."""
        if key == "-":
            longer = [one for one in PERIODS_S if one > self.period_s]
            self.period_s = longer[0] if longer else self.period_s
        else:
            shorter = [one for one in PERIODS_S if one < self.period_s]
            self.period_s = shorter[-1] if shorter else self.period_s
        return AGAIN

    # Prompts --------------------------------------------------------------------------------------

    def _typed(self, key: str) -> str:
        prompt = self.prompt
        assert prompt is not None
        if key == keys.ESCAPE:
            self.prompt = None
            if prompt.kind == FILTER:
                self.filters[self.tab_name] = prompt.before
                return AGAIN
            return NOTHING
        if key == keys.ENTER:
            self.prompt = None
            return self._named(prompt.text.strip()) if prompt.kind == OPEN else AGAIN
        if key == keys.BACKSPACE:
            prompt.text = prompt.text[:-1]
        elif key == keys.CLEAR:
            prompt.text = ""
        elif len(key) == 1 and key.isprintable():
            longer = prompt.text + key
            if len(longer.encode()) <= FILTER_BYTES_MAX or prompt.kind == OPEN:
                prompt.text = longer
        if prompt.kind == FILTER:
            self.filters[self.tab_name] = prompt.text
            self.places.pop(self.tab_name, None)
            return AGAIN
        return NOTHING

    def _named(self, text: str) -> str:
        """Open what a person names: a path, a chunk's id, a job or a server."""
        if not text:
            return NOTHING
        if text.startswith("/"):
            return self._push((FILE, text))
        number = job_number(text)
        if number is not None:
            return self._push((JOB, text))
        if text.startswith("0x"):
            try:
                return self._push((CHUNK, ChunkId(int(text, 16))))
            except ValueError:
                self.said = f"{text} is no id of a chunk"
                return NOTHING
        return self._push((SERVER, text))
