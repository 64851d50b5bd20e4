"""The playbooks as a checker sees them; what they do, `test_site.py` looks at on booted hosts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
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
    ended = play(place, *command)
    assert not ended.returncode, ended.stdout + ended.stderr


def play(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{BESIDE}:{os.environ['PATH']}", "HOME": str(place.parent)}
    return subprocess.run(
        command,
        cwd=place,
        env=environ,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CHECK_S,
    )


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


def test_nothing_is_given_away_through_a_link() -> None:
    """Whoever owns a directory could put a link there, and be given what it leads to by root."""
    yaml = pytest.importorskip("yaml", reason="it comes with ansible-core")
    given = []
    for file in sorted((PLAYBOOKS / "roles").rglob("tasks/*.yml")):
        waiting = list(yaml.safe_load(file.read_text(encoding="utf-8")))
        while waiting:
            task = waiting.pop()
            waiting += task.get("block", []) + task.get("always", []) + task.get("rescue", [])
            options = task.get("ansible.builtin.file", {})
            if options.get("owner", "root") != "root":
                given.append((file.name, task["name"], options.get("follow")))
    assert len(given) >= 4
    assert [one for one in given if one[2] is not False] == []


def test_what_is_given_on_a_command_line_is_made_a_number() -> None:
    """There `-e gfs_patience_s=60` is text, with which nothing can be reckoned."""
    uses = [
        (file.name, line.strip())
        for file in sorted((PLAYBOOKS / "roles").rglob("tasks/*.yml"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"gfs_\w+_s\b", line) and "{{" in line
    ]
    assert len(uses) >= 4
    assert [one for one in uses if not re.search(r"gfs_\w+_s \| int\b", one[1])] == []


def local_hosts(place: Path, **variables: object) -> str:
    """Return an inventory of two hosts, m1 and cs1, that are this machine below a directory."""
    house = place.parent / "hosts"
    everywhere = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "gfs_cluster_id": "lab-1",
        "gfs_prefix": str(house / "{{ inventory_hostname }}"),
        "gfs_etc": str(house / "etc"),
        "gfs_data": str(house / "data"),
        "gfs_master_directory": str(house / "data" / "master"),
        "gfs_disks": [{"directory": str(house / "data" / "disk1")}],
        **variables,
    }
    groups = {"masters": {"hosts": {"m1": {}}}, "chunkservers": {"hosts": {"cs1": {}}}}
    file = place.parent / "hosts.json"
    file.write_text(json.dumps({"all": {"vars": everywhere, "children": groups}}))
    return str(file)


@pytest.mark.parametrize("answer", ["lab-2", ""])
@pytest.mark.parametrize("limit", ["all", "masters", "cs1"])
def test_no_part_of_a_cluster_is_removed_unless_its_id_is_given(
    copy: Path, limit: str, answer: str
) -> None:
    command = [program("ansible-playbook"), "-i", local_hosts(copy), "teardown.yml"]
    # A check, should it ever not refuse: these hosts are this machine.
    command += ["--check", "--limit", limit]
    given = ["-e", json.dumps({"gfs_confirm": answer})] if answer else []
    ended = play(copy, *command, *given)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "nothing was done" in ended.stdout
    assert "Stop the daemons" not in ended.stdout and "changed=0" in ended.stdout


@pytest.mark.parametrize("written", ["/srv/two/", "/srv/three"])
def test_no_disk_that_works_is_left_out_undrained_because_another_one_was_named(
    copy: Path, tmp_path: Path, written: str
) -> None:
    """The server would start without it, with copies there that nobody moved away."""
    disks = [("/srv/one", "in-service"), ("/srv/two", "in-service"), ("/srv/two", "lost")]
    rows = [
        {"server": "cs1", "directory": directory, "state": state, "disk_id": number}
        for number, (directory, state) in enumerate(disks)
    ]
    for host in ("m1", "cs1"):
        gfsctl = tmp_path / "hosts" / host / "current" / "bin" / "gfsctl"
        gfsctl.parent.mkdir(parents=True)
        gfsctl.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps({'items': rows}))}\n")
        gfsctl.chmod(0o755)
    kept = [{"directory": "/srv/one"}, {"directory": "/srv/new"}]
    command = [program("ansible-playbook"), "-i", local_hosts(copy, gfs_disks=kept)]
    command += ["replace_disk.yml", "--check", "-e", "host=cs1"]  # These hosts are this machine.
    ended = play(copy, *command, "-e", f"disk={written}")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "/srv/two, which it uses" in " ".join(ended.stdout.split())
    ended = play(copy, *command, "-e", "disk=/srv/two")
    assert "disks drain cs1:1 -y" in ended.stdout, "that which works, and not what was lost there"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
def test_a_release_that_one_host_has_already_is_installed_on_the_other(
    copy: Path, tmp_path: Path
) -> None:
    """As in the run after one that failed half-way."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "gfs_ha-9.9-py3-none-any.whl", "w") as wheel:
        about = "gfs_ha-9.9.dist-info"
        wheel.writestr("tiny.py", "def main():\n    print('9.9')\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: gfs-ha\nVersion: 9.9\n")
        wheel.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\ngfsctl = tiny:main\n")
        wheel.writestr(f"{about}/RECORD", "")
    inventory = local_hosts(copy, gfs_wheelhouse=str(wheels))
    digest = hashlib.sha256(next(wheels.iterdir()).read_bytes()).hexdigest()
    whole = tmp_path / "hosts" / "m1" / "releases" / f"9.9-{digest[:12]}" / ".complete"
    whole.parent.mkdir(parents=True)
    whole.touch()
    (tmp_path / "hosts" / "cs1" / "releases").mkdir(parents=True)
    (copy / "install.yml").write_text(
        "- hosts: masters:chunkservers\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: gfs, tasks_from: wheel}\n"
        "    - ansible.builtin.import_role: {name: gfs, tasks_from: release}\n"
    )
    left_before = set(Path(tempfile.gettempdir()).glob("*.gfs-wheels"))
    run(copy, program("ansible-playbook"), "-i", inventory, "install.yml")
    found = list((tmp_path / "hosts" / "cs1" / "releases").glob("*/bin/gfsctl"))
    assert len(found) == 1
    assert set(Path(tempfile.gettempdir()).glob("*.gfs-wheels")) == left_before
