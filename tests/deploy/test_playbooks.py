"""The playbooks as a checker sees them; what they do, `test_site.py` looks at on booted hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playbooks import PLAYBOOKS

CHECK_S = 300.0
BESIDE = Path(sys.executable).parent


def program(name: str) -> str:
    found = shutil.which(name, path=str(BESIDE))
    if found is None:
        pytest.skip(f"{name} is not installed (make test-deploy does it)")
    return found


def run(place: Path, *command: str) -> None:
    environ = {**os.environ, "PATH": f"{BESIDE}:{os.environ['PATH']}", "HOME": str(place.parent)}
    ended = subprocess.run(
        command,
        cwd=place,
        env=environ,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CHECK_S,
    )
    assert not ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The playbooks in a place where checkers may write beside them."""
    place = tmp_path / "ansible"
    shutil.copytree(PLAYBOOKS, place)
    return place


def test_the_linter_has_nothing_against_them_for_production(copy: Path) -> None:
    run(copy, program("ansible-lint"), "--profile", "production", "--offline", "--nocolor")


def test_each_is_understood_with_the_example_to_copy(copy: Path) -> None:
    found = sorted(one.name for one in copy.glob("*.yml"))
    assert found
    run(copy, program("ansible-playbook"), "--syntax-check", *found)
