"""gfsctl as a real process against a real cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfs_ha.local.cluster import LocalCluster

GFSCTL = str(Path(sys.executable).with_name("gfsctl"))
COMMAND_S = 120.0
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


class Gfsctl:
    """Runs the real program against one cluster."""

    def __init__(self, config: Path, directory: Path) -> None:
        self.config = config
        self.directory = directory
        self._children: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("GFS_")}
        return {**plain, "GFS_CONFIG": str(self.config), "HOME": str(self.directory)}

    def begin(self, *words: str | bytes | Path, **more: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(
            [GFSCTL, *words],
            env=self.environment(),
            cwd=self.directory,
            **{**pipes, **more},
        )
        self._children.append(child)
        return child

    def end(self, child: subprocess.Popen[bytes], stdin: bytes | None = None) -> Ended:
        out, err = child.communicate(stdin, timeout=COMMAND_S)
        return Ended(child.returncode, out, err.decode("utf-8", "backslashreplace"))

    def __call__(self, *words: str | bytes | Path, stdin: bytes | None = None) -> Ended:
        """Run it to its end, whatever the end is."""
        more = {} if stdin is None else {"stdin": subprocess.PIPE}
        return self.end(self.begin(*words, **more), stdin)

    def ok(self, *words: str | bytes | Path, stdin: bytes | None = None) -> Ended:
        """Run it; it must end with status 0."""
        ended = self(*words, stdin=stdin)
        assert ended.status == 0, f"gfsctl {words}: {ended.status}: {ended.err}"
        return ended

    def refused(self, status: int, *words: str | bytes | Path) -> str:
        """Run it; it must end with this status and one clear line."""
        ended = self(*words)
        assert ended.status == status, f"gfsctl {words}: {ended.status}: {ended.err}"
        assert ended.err.startswith("gfsctl: ") and ended.err.count("\n") == 1, ended.err
        assert "Traceback" not in ended.err
        return ended.err

    def names(self, path: str) -> list[str]:
        return self.ok("ls", "-o", "name", path).lines

    def tree(self, path: str) -> list[str]:
        return self.ok("ls", "-R", "-o", "name", path).lines

    def stop_all(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait(10)
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()


def wait_until(there: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait for a state, looking again and again; only the deadline is a matter of time."""
    deadline_s = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.01)


def kill_member(cluster: LocalCluster, name: str) -> None:
    """End a process of the cluster as a power cut would."""
    cluster.kill(name, signal.SIGKILL)
