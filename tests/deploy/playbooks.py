"""Runs the playbooks against the hosts of a lab."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import Host, Lab, inventory

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "deploy" / "ansible"
_TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(?:\S+ : )?(.*)\] \**$")
_CHANGED = re.compile(r"changed: \[([^]\s]+)")
_AS_IN_A_RUN = {"Tell what a run would tell the cluster": "Tell the cluster"}
_PLAY_S = 3600.0  # Two cores with other work take minutes for what takes one alone.
_BUILD_S = 900.0


@dataclass(frozen=True, slots=True)
class Played:
    """What a playbook did: per host how many tasks were ok, changed, failed…"""

    hosts: dict[str, dict[str, int]]
    text: str

    @property
    def changed(self) -> int:
        """Return how many tasks changed something, on all hosts."""
        return sum(host["changed"] for host in self.hosts.values())

    @property
    def changes(self) -> set[tuple[str, str]]:
        """Return which tasks changed something on which host, or would, where it was a check."""
        found, task = set(), ""
        for line in self.text.splitlines():
            if begun := _TASK.match(line):
                task = _AS_IN_A_RUN.get(begun[1], begun[1])
            elif changed := _CHANGED.match(line):
                found.add((changed[1], task))
        return found


class Site:
    """An inventory of a lab's hosts, with the playbooks of the project."""

    def __init__(
        self,
        lab: Lab,
        wheelhouse: Path,
        groups: Mapping[str, Sequence[Host]],
        variables: Mapping[str, object],
    ) -> None:
        self._lab = lab
        self._directory = lab.home / "inventory"
        self._directory.mkdir()
        (self._directory / "group_vars").mkdir()
        self.regroup(groups)
        own = {
            "gfs_wheelhouse": str(wheelhouse),
            "gfs_local_gfsctl": str(Path(sys.executable).with_name("gfsctl")),
            **variables,
        }
        (self._directory / "group_vars/all.json").write_text(json.dumps(own), encoding="utf-8")

    @property
    def authority(self) -> Path:
        """Return where the authority of the cluster is."""
        return self._directory / "ca"

    def regroup(self, groups: Mapping[str, Sequence[Host]]) -> None:
        """Have other hosts in the groups from now on."""
        text = inventory(self._lab, dict(groups))
        (self._directory / "hosts.ini").write_text(text, encoding="utf-8")

    def describe(self, host: Host, variables: Mapping[str, object]) -> None:
        """Say of one host what differs from the others."""
        place = self._directory / "host_vars" / f"{host.name}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(variables), encoding="utf-8")

    def play(self, name: str, *options: str) -> Played:
        """Run a playbook. Raises: RuntimeError with what it said when it failed."""
        status, text = self._played(name, options)
        if status:
            raise RuntimeError(f"{name} ended with {status}:\n{text[-6000:]}")
        return Played(_recap(text), text)

    def fail(self, name: str, *options: str) -> str:
        """Run a playbook that has to fail, and return what it said, with no line broken."""
        status, text = self._played(name, options)
        # A connection that is kept open to a host that was cut off hangs for a minute.
        shutil.rmtree(self._lab.home / "cp", ignore_errors=True)
        assert status, text[-6000:]
        return " ".join(text.split())

    def _played(self, name: str, options: Sequence[str]) -> tuple[int, str]:
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        inventory = str(self._directory / "hosts.ini")
        log = self._lab.home / f"{name}.log"
        environ = {
            **os.environ,
            "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self._lab.home / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._lab.home / "cp"),
            "ANSIBLE_NOCOLOR": "1",
        }
        command = self._lab.on_network(program, "-i", inventory, name, *options)
        with log.open("w") as file:  # A pipe would be held by the connections that ssh keeps.
            ended = subprocess.run(
                command,
                cwd=PLAYBOOKS,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=_PLAY_S,
            )
        return ended.returncode, log.read_text(encoding="utf-8", errors="replace")


def built_wheelhouse(place: Path) -> Path:
    """Return a folder with the wheels of the last commit, made in `place`."""
    build = str(ROOT / "deploy" / "packaging" / "build.py")
    command = [sys.executable, build, "wheelhouse", "--out", str(place)]
    subprocess.run(command, check=True, timeout=_BUILD_S)
    return place / "wheelhouse"


def next_wheelhouse(house: Path, place: Path) -> Path:
    """Return the same as a wheelhouse, but with a wheel of the next version."""
    source, made = place / "source", place / "next"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True, timeout=_BUILD_S)
    for name, quote in (("gfs_ha/version.py", '"'), ("setup.cfg", "")):
        file = source / name
        lines = file.read_text(encoding="utf-8").splitlines()
        number = next(at for at, line in enumerate(lines) if line.lower().startswith("version = "))
        lines[number] = f"{lines[number][:10]}{quote}9.9.9{quote}"
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    git = ["git", "-C", str(source), *who]
    subprocess.run([*git, "commit", "-qam", "Next"], check=True, timeout=_BUILD_S)
    shutil.copytree(house, made)
    for wheel in made.glob("gfs_ha-*.whl"):
        wheel.unlink()
    build = [sys.executable, str(source / "deploy" / "packaging" / "build.py"), "wheel"]
    subprocess.run([*build, "--out", str(made)], check=True, timeout=_BUILD_S)
    return made


def patched_wheelhouse(house: Path, made: Path, code: str) -> Path:
    """Return a wheelhouse with a further build of the version, whose daemons run `code`, too."""
    shutil.copytree(house, made)
    (wheel,) = made.glob("gfs_ha-*.whl")
    (before,) = house.glob("gfs_ha-*.whl")
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(wheel, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == "gfs_ha/cli/daemons.py":
                data += f"\n{code}\n".encode()
            new.writestr(entry, data)
    return made


def _recap(text: str) -> dict[str, dict[str, int]]:
    _, _, recap = text.rpartition("PLAY RECAP")
    found = {}
    for line in recap.splitlines()[1:]:
        name, colon, counts = line.partition(":")
        if colon and "ok=" in counts:
            pairs = (pair.split("=") for pair in counts.split())
            found[name.strip()] = {key: int(value) for key, value in pairs}
    return found
