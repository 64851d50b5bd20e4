"""What tests of the playbooks share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playbooks import PLAYBOOKS


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The playbooks in a place where checkers may write beside them."""
    place = tmp_path / "ansible"
    shutil.copytree(PLAYBOOKS, place)
    return place
