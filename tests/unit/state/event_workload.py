"""Random commands about events and mutes, mostly such as fit what is noted."""

from __future__ import annotations

import random

from state_driver import Driver

from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.event_commands import EndMute, NotedChange, NoteEvents, StartMute
from gfs_ha.master.state.events import all_noted
from gfs_ha.master.state.mutes import all_mutes

_STATES = ("", "suspect", "dead")


def event_change(chance: random.Random, driver: Driver) -> Command:
    """Return news of things that come and go, or the start or end of a mute."""
    with driver.view() as view:
        noted, mutes = all_noted(view), all_mutes(view)
    pick = chance.random()
    if pick < 0.15:
        code = chance.choice(("SERVER_DEAD", "CHUNKS_UNDER", "", "X" * 99))
        return StartMute(code, chance.randint(0, 9_000), chance.choice(("warning", "info")))
    if pick < 0.3 and mutes:
        code, row = chance.choice(sorted(mutes.items()))
        return EndMute(code, row.made_index + chance.choice((0, 0, 1)), "fuzz")
    changes = []
    for _ in range(chance.randint(0, 3)):
        key = f"server/cs{chance.randint(1, 4)}"
        seen = noted[key].state if key in noted and chance.random() < 0.9 else ""
        state, text = chance.choice(_STATES), chance.choice(("", "is so", "line\nbreak"[:4]))
        kind = chance.choice(("server", "server", "server", "party"))
        changes.append(NotedChange(key, seen, state, kind, key[7:], text, timed=True))
    return NoteEvents(tuple(changes))
