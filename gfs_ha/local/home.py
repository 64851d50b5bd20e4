"""The directory of one process of a local cluster."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from gfs_ha.chunk.slots.identity import IDENTITY_NAME
from gfs_ha.local.member_text import DATA_NAME
from gfs_ha.local.processes import ProcessFiles

CONFIG_NAME = "gfs.toml"
MASTER = "master"
CHUNKSERVER = "chunkserver"
HOME_NAMES = {MASTER: re.compile(r"m([0-9]{1,4})"), CHUNKSERVER: re.compile(r"cs([0-9]{1,4})")}
# Homes half made, or half removed; logs of processes that never were known to a master.
PARTIAL = re.compile(r"(m|cs)[0-9]{1,4}\.(new|gone[0-9]*|log)")


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one process."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def role(self) -> str:
        """Return the role that the name says; the configuration says it, too."""
        return next(role for role, named in HOME_NAMES.items() if named.fullmatch(self.name))

    @property
    def config_path(self) -> Path:
        return self.directory / CONFIG_NAME

    @property
    def data(self) -> Path:
        return self.directory / DATA_NAME

    def make(self, text: str) -> None:
        """Make it with a configuration, at once for who looks: without one it keeps all down."""
        fresh = self.directory.with_name(f"{self.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        (fresh / CONFIG_NAME).write_text(text, encoding="utf-8")
        fresh.rename(self.directory)

    def discard(self) -> None:
        """Remove it with all in it, at once for who looks, whatever becomes of us meanwhile."""
        for number in itertools.count():
            gone = self.directory.with_name(f"{self.name}.gone{number or ''}")
            shutil.rmtree(gone, ignore_errors=True)
            if not os.path.lexists(gone):
                break  # Else an earlier try left what cannot be removed.
        self.directory.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def withdraw(self) -> Path:
        """Remove it but for its log, which tells why; return where that lies then."""
        log = self.files.log
        kept = self.directory.with_name(log.name)
        if log.exists():
            log.replace(kept)
        self.discard()
        return kept

    def enrolled(self) -> bool:
        """Return whether a master has given a chunkserver its id: from then on it is known."""
        return any(self.directory.glob(f"{DATA_NAME}*/{IDENTITY_NAME}"))

    @property
    def files(self) -> ProcessFiles:
        return ProcessFiles(
            pid=self.directory / "pid",
            output=self.directory / "output",
            log=self.directory / f"{self.name}.log",
        )
