"""Runs the playbooks on hosts that are this machine, each below a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECK_S = 300.0
BESIDE = Path(sys.executable).parent
ONLY = """
- hosts: {hosts}
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {{name: gfs, tasks_from: {part}}}
"""


def program(name: str) -> str:
    found = shutil.which(name, path=str(BESIDE))
    if found is None:
        pytest.skip(f"{name} is not installed (make test-deploy does it)")
    return found


def run(place: Path, *command: str, umask: int = 0o022) -> None:
    ended = play(place, *command, umask=umask)
    assert not ended.returncode, ended.stdout + ended.stderr


def play(place: Path, *command: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{BESIDE}:{os.environ['PATH']}", "HOME": str(place.parent)}
    return subprocess.run(
        command,
        cwd=place,
        env=environ,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CHECK_S,
        umask=umask,
    )


def local_hosts(place: Path, **variables: object) -> str:
    """Return an inventory of two hosts, m1 and cs1, that are this machine below a directory."""
    house = place.parent / "hosts"
    everywhere = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "gfs_cluster_id": "lab-1",
        "gfs_prefix": str(house / "{{ inventory_hostname }}"),
        "gfs_commands": str(house / "bin"),
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


def answer_all(place: Path, script: str) -> None:
    """Have a script in the place of gfsctl on the hosts of `local_hosts`, in their release 1.0."""
    for host in ("m1", "cs1"):
        current = place / "hosts" / host / "current"
        release = current.with_name("releases") / "1.0"
        gfsctl = release / "bin" / "gfsctl"
        gfsctl.parent.mkdir(parents=True)
        gfsctl.write_text(f"#!/bin/sh\n{script}\n")
        gfsctl.chmod(0o755)
        (release / ".complete").touch()
        current.symlink_to(release)
