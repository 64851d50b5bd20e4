"""Who may use the key of a host's clients, before the user of the daemons was made there."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_play import ONLY, answer_all, local_hosts, play, program


@pytest.mark.parametrize("owner", ["gfs-of-nobody", "alice-of-nobody"])
def test_a_check_of_a_first_run_takes_the_user_for_known_that_it_would_make(
    copy: Path, tmp_path: Path, owner: str
) -> None:
    answer_all(tmp_path, "exit 0")
    made = {"gfs_user": "gfs-of-nobody", "gfs_client_owner": owner, "gfs_security": "none"}
    inventory = local_hosts(copy, **made)
    (copy / "client.yml").write_text(ONLY.format(hosts="cs1", part="client"))
    ended = play(copy, program("ansible-playbook"), "-i", inventory, "--check", "client.yml")
    said = " ".join(ended.stdout.split())
    refused = f"{owner} is no user of cs1" in said
    assert refused == (owner != "gfs-of-nobody"), said
    assert (ended.returncode == 0) == (not refused), said
