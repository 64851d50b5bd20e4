"""Build what is installed: the wheel, a folder with all wheels it needs, and gfsctl in one file.

The wheel depends on the commit alone: two builds of it, anywhere and at any time, are equal byte
for byte. It is built from what the commit holds, never from what lies around in the working tree.

    build.py wheel|wheelhouse|zipapp [--out DIR] [--commit COMMIT]
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 600.0
_ZIP_BEGINS_S = 315_619_200  # 1980-01-02; earlier times cannot be written into a wheel.


def main() -> None:
    """Build what the command line asks for, and print its path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", choices=("wheel", "wheelhouse", "zipapp"))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist")
    parser.add_argument("--commit", default="HEAD")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    _tell_what_is_left_out(asked.commit)
    build = {"wheel": build_wheel, "wheelhouse": build_wheelhouse, "zipapp": build_zipapp}
    try:
        print(build[asked.what](asked.out.resolve(), asked.commit))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} ended with {error.returncode}")


def build_wheel(out: Path, commit: str = "HEAD", repository: Path = REPOSITORY) -> Path:
    """Return the wheel of a commit, made in `out`. Raises: CalledProcessError."""
    with tempfile.TemporaryDirectory() as place:
        source, made = Path(place, "source"), Path(place, "made")
        _export(repository, commit, source)
        command = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        _pip(*command, "--wheel-dir", str(made), str(source), environ=_fixed(repository, commit))
        (wheel,) = made.glob("gfs_ha-*.whl")
        return Path(shutil.copy(wheel, out / wheel.name))


def build_wheelhouse(out: Path, commit: str = "HEAD") -> Path:
    """Return a folder with the wheel and all that it needs, for hosts without an index.

    The others are of the versions in constraints.txt, for this Python and this kind of machine.
    """
    house = out / "wheelhouse"
    shutil.rmtree(house, ignore_errors=True)
    house.mkdir()
    wheel = build_wheel(house, commit)
    limits = ["--constraint", str(REPOSITORY / "constraints.txt")]
    _pip("wheel", "--quiet", *limits, "--wheel-dir", str(house), str(wheel))
    return house


def build_zipapp(out: Path, commit: str = "HEAD") -> Path:
    """Return gfsctl as one file that runs with a Python like this one, wheels and all."""
    with tempfile.TemporaryDirectory() as place:
        house = build_wheelhouse(Path(place), commit)
        wheels = sorted(str(path) for path in house.glob("*.whl"))
        target = out / "gfsctl.pyz"
        command = [sys.executable, "-m", "shiv", "--quiet", "--reproducible", "--compressed"]
        command += ["--console-script", "gfsctl", "--python", "/usr/bin/env python3"]
        # What it starts by itself (`local up`) must find the modules, too.
        command += ["--extend-pythonpath", "--output-file", str(target)]
        command += ["--no-index", "--no-deps", *wheels]
        environ = _fixed(REPOSITORY, commit)
        subprocess.run(command, check=True, timeout=_TIMEOUT_S, env=environ)
        return target


def _export(repository: Path, commit: str, target: Path) -> None:
    """Write what a commit holds, with the rights of a plain checkout."""
    archive = _git(repository, "-c", "tar.umask=0022", "archive", "--format=tar", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target, filter="tar")


def _fixed(repository: Path, commit: str) -> dict[str, str]:
    """Return an environment in which a build knows the time of its commit, and no other."""
    seconds = int(_git(repository, "log", "-1", "--format=%ct", commit))
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or str(max(seconds, _ZIP_BEGINS_S))
    return {
        **os.environ,
        "SOURCE_DATE_EPOCH": epoch,
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def _git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, timeout=_TIMEOUT_S, stdout=subprocess.PIPE).stdout


def _pip(*arguments: str, environ: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    # Whoever builds may have any umask; the files in a wheel have one.
    subprocess.run(command, check=True, timeout=_TIMEOUT_S, env=environ, umask=0o022)


def _tell_what_is_left_out(commit: str) -> None:
    changed = _git(REPOSITORY, "status", "--porcelain", "--", "gfs_ha", "setup.cfg").decode()
    if commit == "HEAD" and changed:
        count = len(changed.splitlines())
        print(
            f"{count} files differ from the commit that is built; see git status", file=sys.stderr
        )


if __name__ == "__main__":
    main()
