"""A closed cluster under attack on every port, beside somebody honest: the short siege."""

from __future__ import annotations

import pytest
from attacks import PURPOSE, besieged, launch
from stage import Stage

pytestmark = pytest.mark.processes

PORTS = {
    "leader's door",
    "follower's door",
    "follower's port for members",
    "data port",
    "probes, chunkserver",
    "a server in a master's place",
}


def test_attacks_on_every_port_are_refused_told_of_and_harmless() -> None:
    """Memory and descriptors stay, and who is honest gets what he put."""
    with Stage(PURPOSE, launch=launch) as stage:
        rows, wrong = besieged(stage, short=True)
    assert not wrong, "\n".join(wrong)
    assert {row.port for row in rows} == PORTS
    assert all(row.seen and row.told for row in rows)
