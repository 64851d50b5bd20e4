"""What a change takes away or freezes, so that tails at or below it are sealed first (C9)."""

from __future__ import annotations

import pytest
from master_tables import Tables

from gfs_ha.ids import ContentId, SessionId
from gfs_ha.master.handlers.holds import targets
from gfs_ha.master.state.commands import Command
from gfs_ha.protocol.extents import ReplaceContent, StageCopy
from gfs_ha.protocol.metadata import Mkdir, Publish, PublishFile, Remove, Rename


class House:
    """The files /f and /d/g, and the directories /d and /empty."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.session: SessionId = self.tables.session()
        self.tables.do(Mkdir("/d"), self.session)
        self.tables.do(Mkdir("/empty"), self.session)
        for path in ("/f", "/d/g"):
            self.tables.do(Publish((PublishFile(path, 0, 0o644, 1),)), self.session)

    def targets(self, command: Command) -> list[str]:
        """Return the paths of the inodes that would be held."""
        with self.tables.view() as view:
            named = {view.resolve(path).inode_id: path for path in ("/f", "/d", "/d/g", "/empty")}
            return [named[inode_id] for inode_id in targets(view, command)]


def put(path: str, if_absent: bool = False) -> PublishFile:
    return PublishFile(path, 0, 0o644, 1, if_absent=if_absent)


@pytest.mark.parametrize(
    ("command", "held"),
    [
        (Remove("/f"), ["/f"]),
        (Remove("/d", recursive=True), ["/d"]),
        (Remove("/empty"), ["/empty"]),
        (Rename("/f", "/d/g"), ["/d/g"]),
        (Publish((put("/f"), put("/new"), put("/d/g"), put("/f"))), ["/f", "/d/g"]),
        (ReplaceContent("/f", ContentId(1), 0, 1, ContentId(0), 1), ["/f"]),
        (StageCopy("/d/g", 0, 10, ContentId(0), 0), ["/d/g"]),
    ],
)
def test_what_is_taken_or_frozen_is_held(command: Command, held: list[str]) -> None:
    assert House().targets(command) == held


@pytest.mark.parametrize(
    "command",
    [
        Remove("/"),
        Remove("/", recursive=True),
        Remove("/nothing"),
        Remove("/f/below"),
        Remove("/d"),  # It is not empty.
        Rename("/f", "/new"),
        Rename("/f", "/f"),
        Rename("/f", "/d/g", replace=False),
        Rename("/f", "/d"),
        Rename("/d", "/f"),
        Rename("/d", "/empty"),
        Rename("/nothing", "/f"),
        Publish((put("/f", if_absent=True), put("/new"))),
        StageCopy("/nothing", 0, 10, ContentId(0), 0),
        Mkdir("/f"),
    ],
)
def test_nothing_is_held_for_what_is_refused_anyway_or_takes_no_file(command: Command) -> None:
    assert House().targets(command) == []
