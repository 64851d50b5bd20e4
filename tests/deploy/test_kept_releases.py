"""What `rolling_upgrade.yml` leaves of old releases once all hosts do well with a new one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_play import ONLY, local_hosts, play, program

KEPT = {"2.0", "1.0", "0.7"}  # What runs, what ran before, and what a process still uses.
GONE = {"1.5", "0.9", "half"}  # The first never ran: it failed on the first host.


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[Path]:
    """The releases of cs1, with a process of 0.7."""
    place = tmp_path / "hosts" / "cs1" / "releases"
    for name in KEPT | GONE:
        (place / name / "bin").mkdir(parents=True)
    for number, name in enumerate(("0.7", "0.9", "1.0")):
        used = place / name / ".used"
        used.touch()
        os.utime(used, (number, number))
    (place.parent / "current").symlink_to(place / "2.0")
    waiting = shutil.copy("/bin/sleep", place / "0.7" / "bin" / "wait")
    with subprocess.Popen([waiting, "600"]) as process:
        yield place
        process.kill()


def names(place: Path) -> set[str]:
    return {one.name for one in place.iterdir()}


def test_the_one_before_stays_and_what_a_process_uses(copy: Path, releases: Path) -> None:
    (copy / "prune.yml").write_text(ONLY.format(hosts="cs1", part="prune"))
    inventory = local_hosts(copy, gfs_release="2.0")
    command = [program("ansible-playbook"), "-i", inventory, "prune.yml", "--diff"]
    # A check tells of it before any file says that 1.0 ran: also where a run ended amid.
    used = releases / "1.0" / ".used"
    used.unlink()
    foreseen = play(copy, *command, "--check", "-e", "gfs_back=1.0").stdout
    assert names(releases) == KEPT | GONE
    used.touch()
    for text in (foreseen, play(copy, *command).stdout):
        assert {one for one in KEPT | GONE if f"changed: [cs1] => (item={one})" in text} == GONE
    assert names(releases) == KEPT
    again = play(copy, *command).stdout
    assert "changed=0" in again and "failed=0" in again, again
    assert names(releases) == KEPT


def test_it_comes_last_and_as_many_stay_as_are_wanted(copy: Path, releases: Path) -> None:
    _, _, last = (copy / "rolling_upgrade.yml").read_text(encoding="utf-8").rpartition("hosts:")
    assert "tasks_from: prune" in last and "any_errors_fatal" not in last
    (copy / "prune.yml").write_text(ONLY.format(hosts="cs1", part="prune"))
    inventory = local_hosts(copy, gfs_release="2.0")
    command = [program("ansible-playbook"), "-i", inventory, "prune.yml"]
    play(copy, *command, "-e", "gfs_kept_releases=3")
    assert names(releases) == KEPT | {"0.9"}
