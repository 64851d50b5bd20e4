"""A work directory on the checkout's disk with a local cluster in it, gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from gfs_ha.local import launcher
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.home import Home
from gfs_ha.local.processes import Process

Launch = Callable[[Home, str, Sequence[str]], Process]

CHECKOUT = Path(__file__).resolve().parent.parent
GFSCTL = Path(sys.executable).with_name("gfsctl")
COMMAND_S = 600.0
START_S = 180.0  # Other processes may want the same cores; only a broken start takes so long.


class Failed(Exception):
    """Something that was to be shown did not hold."""


class Stage:
    """Use it with `with`: at the end no process and no file of it is left, also after Ctrl-C.

    Args: `purpose` names the directory; `keep` leaves the directory (not the processes) behind;
    `launch` starts the daemons of the cluster.
    """

    def __init__(self, purpose: str, keep: bool = False, launch: Launch = launcher.launch) -> None:
        # Below the checkout: the temp directory of many systems lies in memory.
        build = CHECKOUT / "build"
        build.mkdir(exist_ok=True)
        self._keep = keep
        self._children: list[subprocess.Popen[bytes]] = []
        self._old: dict[int, object] = {}
        self.directory = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=build))
        self.cluster = LocalCluster(self.directory / "cluster", timeout_s=START_S, launch=launch)

    def __enter__(self) -> Stage:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old[number] = signal.signal(number, _interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # From here on a second Ctrl-C must not leave half of the processes running.
        for number in self._old:
            signal.signal(number, signal.SIG_IGN)
        try:
            for child in self._children:
                if child.poll() is None:
                    child.kill()
                    child.wait(10)
            self.cluster.down(wipe=not self._keep)
        finally:
            if not self._keep:
                shutil.rmtree(self.directory, ignore_errors=True)
            for number, handler in self._old.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start gfsctl against the cluster; it is ended with the stage."""
        child = subprocess.Popen(
            [str(GFSCTL), *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._children.append(child)
        return child

    def end(self, child: subprocess.Popen[bytes]) -> str:
        """Return what a command wrote. Raises: Failed unless it ends with status 0."""
        out, err = child.communicate(timeout=COMMAND_S)
        self._children.remove(child)
        words = " ".join(str(word) for word in list(child.args)[1:])  # type: ignore[arg-type]
        if child.returncode != 0:
            told = err.decode(errors="replace").strip()
            raise Failed(f"gfsctl {words}: exit status {child.returncode}: {told}")
        if err.strip():
            print(f"{'':10}{err.decode(errors='replace').strip()}", flush=True)
        return out.decode(errors="replace")

    def run(self, *words: str) -> str:
        """Run gfsctl to its end and return what it wrote."""
        return self.end(self.begin(*words))

    @property
    def environment(self) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("GFS_")}
        return {**plain, **self.cluster.env()}


class Interrupted(KeyboardInterrupt):
    """A signal asked for an end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
