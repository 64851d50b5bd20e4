"""Mutes as real masters answer for them."""

from __future__ import annotations

from trio import Client

from gfs_ha.protocol.events import MuteFinding, MuteReport

HOUR_MS = 3_600_000


def test_a_mute_that_is_made_longer_at_once_keeps_its_reason(client: Client) -> None:
    for at in range(30):
        client.ask(MuteFinding("SCRUB_LATE", HOUR_MS, f"reason {at}", "ann"))
        longer = client.ask(MuteFinding("SCRUB_LATE", 2 * HOUR_MS, "", "ann"))
        assert isinstance(longer, MuteReport), longer
        assert [row.reason for row in longer.items] == [f"reason {at}"]
