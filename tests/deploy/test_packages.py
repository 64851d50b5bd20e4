"""What is installed: one wheel, the same from every build of a commit, and gfsctl in one file."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gfs_ha.version import VERSION

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "deploy" / "packaging" / "build.py"
WAIT_S = 600.0
UNITS = ("gfs-master.service", "gfs-chunkserver.service", "gfs-ha.sysusers.conf")


def run(*command: str, where: Path, **environ: str) -> str:
    ended = subprocess.run(
        command, cwd=where, text=True, capture_output=True, timeout=WAIT_S, env=os.environ | environ
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with what stands here now, committed or not."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout: there is no commit to build")
    place = tmp_path_factory.mktemp("source") / "gfs"
    run("git", "clone", "-q", str(REPOSITORY), str(place), where=REPOSITORY)
    return place


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(clone, tmp_path_factory.mktemp("wheel"))


def build(repository: Path, out: Path, umask: int = 0o022, **environ: str) -> Path:
    """Return the wheel that a build in a repository makes."""
    program = str(repository / "deploy" / "packaging" / "build.py")
    command = [sys.executable, program, "wheel", "--out", str(out)]
    ended = subprocess.run(
        command,
        cwd=out,
        text=True,
        capture_output=True,
        timeout=WAIT_S,
        umask=umask,
        env=os.environ | environ,
    )
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


def test_two_builds_of_a_commit_are_equal_byte_for_byte(
    clone: Path, wheel: Path, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere" / "another-name"
    other.parent.mkdir()
    run("git", "clone", "-q", str(clone), str(other), where=tmp_path)
    # What lies around is not built, and neither time nor rights of files are those of the wheel.
    (other / "gfs_ha" / "stray.py").write_text('"""Not committed."""\n')
    (other / "build").mkdir()
    os.utime(other / "gfs_ha" / "errors.py", (2_000_000_000, 2_000_000_000))
    again = build(other, tmp_path, 0o077, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7")
    assert again.name == wheel.name == f"gfs_ha-{VERSION}-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()


def test_a_wheel_of_another_commit_is_another_one(clone: Path, wheel: Path, tmp_path: Path) -> None:
    other = tmp_path / "changed"
    run("git", "clone", "-q", str(clone), str(other), where=tmp_path)
    with (other / "gfs_ha" / "version.py").open("a") as file:
        file.write("# Changed.\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.net")
    run("git", *who, "commit", "-q", "-a", "-m", "Change", where=other)
    assert build(other, tmp_path).read_bytes() != wheel.read_bytes()


def test_the_wheel_holds_the_package_its_data_and_the_units(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    data = f"gfs_ha-{VERSION}.data/data/share/gfs-ha/systemd"
    wanted = ["gfs_ha/py.typed", "gfs_ha/runbooks/findings.toml", "gfs_ha/cli/daemons.py"]
    for name in [*wanted, *(f"{data}/{unit}" for unit in UNITS)]:
        assert name in names
    strange = [name for name in names if not name.startswith(("gfs_ha/", f"gfs_ha-{VERSION}."))]
    assert strange == []
    assert all("__pycache__" not in name for name in names)


def test_the_wheel_brings_its_commands(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        points = archive.read(f"gfs_ha-{VERSION}.dist-info/entry_points.txt").decode()
        archive.extractall(tmp_path)
    for name in ("gfsctl", "gfs-master", "gfs-chunkserver"):
        assert f"\n{name} = gfs_ha.cli." in points
    program = "from gfs_ha.cli.main import main; main()"
    words = ("-c", program, "version", "-o", "name")
    shown = run(sys.executable, *words, where=tmp_path, PYTHONPATH=str(tmp_path))
    assert shown == f"{VERSION}\n"


def test_the_version_is_said_in_one_way() -> None:
    text = (REPOSITORY / "setup.cfg").read_text(encoding="utf-8")
    assert f"\nversion = {VERSION}\n" in text
