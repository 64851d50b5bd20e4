"""Clocks that single processes see: wall clocks that step, boot clocks that run fast or slow.

The clock of the machine is never touched.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")
_COMPILE_S = 60.0


class WallClocks:
    """A compiled shim and one file per process. `why_not` says why there is none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._library = directory / "wall_clock.so"
        self.why_not = self._compile()

    def environment(self, name: str, faster: float = 0.0) -> dict[str, str]:
        """Return what a process has to be started with.

        Args: `faster` is the share by which its CLOCK_BOOTTIME gains on the true one.
        """
        if self.why_not:
            return {}
        return {
            "LD_PRELOAD": str(self._library),
            "WALL_CLOCK_FILE": str(self._file(name)),
            "BOOT_CLOCK_FASTER": f"{faster:f}",
        }

    def step(self, name: str, offset_s: float) -> None:
        """Show a process the true wall time plus an offset, from within 20 ms."""
        fresh = self._directory / f"wall_clock.{name}.new"
        fresh.write_text(f"{offset_s:f}\n", encoding="ascii")
        fresh.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self._directory / f"wall_clock.{name}"

    def _compile(self) -> str:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return "there is no C compiler"
        words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(self._library), str(SOURCE)]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_COMPILE_S, check=False
        )
        return done.stderr.strip()[-200:] if done.returncode else ""
