"""The clients of a campaign end in peace whenever they are told to."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.clients import Clients

pytestmark = pytest.mark.processes

CONFIG = """
[cluster]
id = "nobody"

[[cluster.masters]]
name = "m1"
host = "127.0.0.1"
port = 1
raft_port = 2
"""


def test_a_client_that_is_ended_while_it_still_starts_is_no_failure(tmp_path: Path) -> None:
    config = tmp_path / "gfs.toml"
    config.write_text(CONFIG, encoding="utf-8")
    with Clients(tmp_path, config, seed=1) as clients:
        clients.start("here", None, timeout_s=0.5)
        assert clients.finish() == []
