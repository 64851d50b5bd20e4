"""What a master measures, for an operator who asks over the door."""

from __future__ import annotations

from functools import partial

from gfs_ha.errors import NotReady
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.net.http_port import Page
from gfs_ha.protocol.metrics import MetricsText
from gfs_ha.runtime import Future

_OK = 200


def read_metrics(desk: Desk, slot: Slot) -> None:
    """Answer with what this master measures, once somebody has looked: not on this thread."""
    if desk.metrics is None:
        slot.fail(NotReady(f"{desk.name} does not measure anything"))
        return
    found = desk.metrics()
    if isinstance(found, Page):
        _answer(desk.name, slot, found)
    else:
        found.when_done(partial(_looked, desk.name, slot, found))


def _looked(name: str, slot: Slot, made: Future[Page]) -> None:
    try:
        page = made.result(0.0)
    except Exception as error:  # The log of the master has it; whoever asked hears of it.
        slot.fail(NotReady(f"{name} could not look at what it measures: {error}"))
        return
    _answer(name, slot, page)


def _answer(name: str, slot: Slot, page: Page) -> None:
    text = page.body.decode()
    if page.status == _OK:
        slot.reply(MetricsText(name, text))
    else:
        slot.fail(NotReady(f"{name}: {text.strip()}"))
