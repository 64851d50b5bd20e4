"""The playbooks as a checker sees them; what they do, `test_site.py` looks at on booted hosts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from local_play import ONLY, answer_all, local_hosts, play, program, run
from playbooks import PLAYBOOKS

CLUSTER = ("--cluster", "lab-1")


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


@pytest.mark.parametrize(
    ("disks", "lines"),
    [
        ([("/a", False), ("/b", True)], ["RequiresMountsFor=/a", "After=b.mount", "/a -/b"]),
        ([("/x/my-b", True), ("/c", True)], [r"After=x-my\x2db.mount c.mount", "/x/my-b -/c"]),
        (
            [(f"/{name}", None) for name in "abcdef"],  # In the same order at each run.
            ["RequiresMountsFor=/a /b /c /d /e /f", "/a -/b -/c -/d -/e -/f"],
        ),
    ],
)
def test_a_server_waits_for_a_disk_that_is_mounted_but_starts_without_it(
    tmp_path: Path, disks: list[tuple[str, bool | None]], lines: list[str]
) -> None:
    yaml = pytest.importorskip("yaml", reason="it comes with ansible-core")
    tasks = PLAYBOOKS / "roles/gfs/tasks/files.yml"
    names = ("See what the units of its mounts are called", "Let it write where its data are")
    found = [
        task
        for task in yaml.safe_load(tasks.read_text(encoding="utf-8"))
        if task["name"].startswith(names)
    ]
    template = str(PLAYBOOKS / "roles/gfs/templates/paths.conf.j2")
    found[1]["ansible.builtin.template"] = {"src": template, "dest": str(tmp_path / "paths.conf")}
    rows = [
        {"directory": directory, **({} if mounted is None else {"mounted": mounted})}
        for directory, mounted in disks
    ]
    local = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    variables = {"ansible_python_interpreter": sys.executable, "gfs_unit_disks": rows}
    play_file = tmp_path / "play.yml"
    play_file.write_text(json.dumps([{**local, "vars": variables, "tasks": found}]))
    run(tmp_path, program("ansible-playbook"), "-i", "localhost,", str(play_file))
    written = (tmp_path / "paths.conf").read_text(encoding="utf-8").splitlines()
    told = [line for line in written if "=" in line]
    assert told == [*lines[:-1], f"ReadWritePaths=-{lines[-1]}"]


@pytest.mark.parametrize(
    ("masters", "servers", "words"),
    [
        ({"m1": {}, "m2": {}}, {}, ["has 2 hosts in the group masters", "0 in the group"]),
        ({"m1": {}}, {"a": {"gfs_name": "b"}, "b": {}}, ["two hosts would be called the same"]),
        (
            {"m1": {"gfs_address": "localhost"}},
            {"cs1": {"gfs_disks": [{"directory": "srv/d1"}]}},
            ["no other host finds them", "srv/d1 of cs1 must begin with /"],
        ),
        (
            {"m1": {"gfs_address": "192.0.2.1", "gfs_kept_releases": "1"}},
            {"cs1": {}},
            ["gfs_kept_releases is 1: it must be a number from 2 on"],
        ),
        (
            {"m1": {"gfs_address": "192.0.2.1", "gfs_version": 1.1}},
            {"cs1": {}},
            ["gfs_version is the number 1.1"],
        ),
        (
            {"M1": {"gfs_address": "192.0.2.1"}, "m2": {"gfs_rack": "r 1 "}, "m3": {}},
            {"cs1": {"gfs_disks": '[{"directory": "/srv/a", "mounted": true}]'}},
            ['"r 1 " of m2 is no name', "gfs_disks of cs1 is no list of disks"],
        ),
    ],
)
def test_an_inventory_that_cannot_be_meant_is_refused_before_anything_is_done(
    copy: Path,
    masters: dict[str, dict[str, object]],
    servers: dict[str, dict[str, object]],
    words: list[str],
) -> None:
    place = Path(local_hosts(copy, gfs_wheelhouse="/srv/wheels"))
    inventory = json.loads(place.read_text())
    children = {"masters": {"hosts": masters}, "chunkservers": {"hosts": servers}}
    place.write_text(json.dumps({"all": {**inventory["all"], "children": children}}))
    (copy / "meant.yml").write_text(ONLY.format(hosts="masters:chunkservers", part="meant"))
    ended = play(copy, program("ansible-playbook"), "-i", str(place), "meant.yml")
    said = " ".join(ended.stdout.split())
    assert ended.returncode == 2 and "nothing was done" in said, said
    assert [one for one in words if one not in said] == [], said
    assert "meant.yml" in (PLAYBOOKS / "roles/gfs/tasks/install.yml").read_text(encoding="utf-8")


def test_a_cluster_that_runs_goes_on_with_two_masters_and_none_begins_so(copy: Path) -> None:
    place = Path(local_hosts(copy, gfs_address="192.0.2.1"))
    inventory = json.loads(place.read_text())
    inventory["all"]["children"]["masters"]["hosts"]["m2"] = {}
    place.write_text(json.dumps(inventory))
    (copy / "meant.yml").write_text(ONLY.format(hosts="masters:chunkservers", part="meant"))
    command = [program("ansible-playbook"), "-i", str(place), "meant.yml"]
    ended = play(copy, *command)
    assert not ended.returncode, ended.stdout + ended.stderr
    ended = play(copy, *command, "-e", "gfs_founding=true")
    said = " ".join(ended.stdout.split())
    assert ended.returncode == 2 and "has 2 hosts in the group masters" in said, said


def test_no_master_is_begun_while_another_one_is_not_looked_at(copy: Path) -> None:
    """It may have lost its store, votes and all, and the others have theirs."""
    place = Path(local_hosts(copy))
    inventory = json.loads(place.read_text())
    inventory["all"]["children"]["masters"]["hosts"]["m2"] = {}
    place.write_text(json.dumps(inventory))
    start, key = (ONLY.format(hosts="masters", part=one) for one in ("master_start", "tls"))
    (copy / "start.yml").write_text(start)
    before = {"gfs_master_was": {"stdout": "inactive"}, "gfs_rewritten": [], "gfs_founding": True}
    tls = {"gfs_tls_role": "master", "gfs_tls_owner": "root"}
    command = [program("ansible-playbook"), "-i", str(place), "start.yml", "--check"]
    command += ["-e", json.dumps({**before, **tls})]
    ended = play(copy, *command, "--limit", "m2")
    said = " ".join(ended.stdout.split())
    assert ended.returncode == 2, said
    assert "m2 has no store, and m1 of the masters would not be looked at" in said, said
    (copy / "start.yml").write_text(key + start)
    ended = play(copy, *command)
    assert not ended.returncode, ended.stdout + ended.stderr
    assert ended.stdout.count("would start gfs-master, now and at every boot") == 2
    assert ended.stdout.count("would make a key in") == 2


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
    said = " ".join(ended.stdout.split())
    assert (f"{answer} is not the cluster" if answer else "no id was given") in said, said
    assert "where there is no terminal give it (-e gfs_confirm=ID); nothing was done" in said, said
    assert "Stop the daemons" not in ended.stdout and "changed=0" in ended.stdout


def test_why_a_chunkserver_cannot_leave_now_is_said_where_there_is_no_plan(
    copy: Path, tmp_path: Path
) -> None:
    rows = shlex.quote(json.dumps({"items": [{"name": "cs1", "mode": "drained", "state": "live"}]}))
    error = {"error": {"code": "PreconditionFailed", "message": 'disk "a" is being emptied'}}
    told = shlex.quote(json.dumps(error))
    refused = f"case $* in *decommission*) echo {told} >&2; exit 4;; esac"
    answer_all(tmp_path, f"{refused}\necho {rows}")
    command = [program("ansible-playbook"), "-i", local_hosts(copy), "decommission.yml"]
    for check in (["--check"], []):
        ended = play(copy, *command, "-e", "host=cs1", *check)
        assert ended.returncode == 2, ended.stdout + ended.stderr
        told = " ".join(ended.stdout.split())
        assert r"emptied now: disk \\\"a\\\" is being emptied. Nothing was changed" in told, told


@pytest.mark.parametrize(
    ("playbook", "words"),
    [
        ("scale_out.yml", "the group masters of the inventory has no host to ask"),
        ("decommission.yml", "the group masters of the inventory has no host to ask"),
        ("replace_disk.yml", "the group masters of the inventory has no host to ask"),
        ("replace_master.yml", "say -e old=NAME"),
    ],
)
def test_an_inventory_without_masters_is_told_of(copy: Path, playbook: str, words: str) -> None:
    inventory = Path(local_hosts(copy))
    told = json.loads(inventory.read_text())
    del told["all"]["children"]["masters"]
    inventory.write_text(json.dumps(told))
    more = ("-e", "host=cs1", "-e", "disk=/srv/a", "-e", "old=m1", "-e", "new=cs1")
    ended = play(copy, program("ansible-playbook"), "-i", str(inventory), playbook, *more)
    said = " ".join(ended.stdout.split())
    assert ended.returncode == 2 and words in said and "changed=0" in said, said


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
    answer_all(tmp_path, f"echo {shlex.quote(json.dumps({'items': rows}))}")
    kept = [{"directory": "/srv/one"}, {"directory": "/srv/new"}]
    command = [program("ansible-playbook"), "-i", local_hosts(copy, gfs_disks=kept)]
    command += ["replace_disk.yml", "--check", "-e", "host=cs1"]  # These hosts are this machine.
    ended = play(copy, *command, "-e", f"disk={written}")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "/srv/two, which it uses" in " ".join(ended.stdout.split())
    ended = play(copy, *command, "-e", "disk=/srv/two")
    assert "disks drain cs1:1 -y" in ended.stdout, "that which works, and not what was lost there"


def made_authority(place: Path) -> Path:
    run(place.parent, program("gfsctl"), *("admin", "tls", "init"), "--ca", str(place), *CLUSTER)
    return place


def test_no_second_authority_is_made_nor_brought_to_hosts_that_trust_another_one(
    copy: Path, tmp_path: Path
) -> None:
    """As from another machine: no host would know the others any more."""
    first, other = made_authority(tmp_path / "first"), made_authority(tmp_path / "other")
    shown = tmp_path / "hosts" / "etc" / "tls" / "client"
    issue = ("admin", "tls", "issue", "cs1", "--role", "client", "--out", str(shown))
    run(tmp_path, program("gfsctl"), *issue, "--ca", str(first))
    trusted = (shown / "ca.pem").read_bytes()
    programs = tmp_path / "hosts" / "cs1" / "current" / "bin"
    programs.mkdir(parents=True)
    (programs / "gfsctl").symlink_to(program("gfsctl"))
    (copy / "trust.yml").write_text(
        "- hosts: cs1\n  gather_facts: false\n  tasks:\n"
        '    - ansible.builtin.import_role: {name: gfs, tasks_from: "{{ part }}"}\n'
        "      vars: {gfs_tls_role: client, gfs_tls_owner: root}\n"
    )
    own = {"gfs_local_gfsctl": program("gfsctl"), "gfs_founding": True}
    command = (program("ansible-playbook"), "trust.yml", "-i")
    inventory = local_hosts(copy, gfs_ca=str(other), **own)
    ended = play(copy, *command, inventory, "-e", "part=trust")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "holds another authority" in ended.stdout and "nothing was done" in ended.stdout
    inventory = local_hosts(copy, gfs_ca=str(tmp_path / "no"), **own)
    for what in ("a host has a certificate", "the masters, which may have one, are left out"):
        ended = play(copy, *command, inventory, "-e", "part=tls")
        assert ended.returncode == 2, (what, ended.stdout + ended.stderr)
        assert "there is no authority in" in ended.stdout
        assert not (tmp_path / "no").exists() and (shown / "ca.pem").read_bytes() == trusted
        (shown / "cert.pem").unlink(missing_ok=True)


def test_what_a_daemon_would_refuse_is_written_nowhere(copy: Path, tmp_path: Path) -> None:
    """Also not into the files of clients, which come first. What is wrong for many is said once."""
    told = {"meta": {"leader": "m1"}, "items": [{"name": "cs1"}]}
    for host in ("m1", "m2", "m3", "cs1"):
        programs = tmp_path / "hosts" / host / "current" / "bin"
        programs.mkdir(parents=True)
        for name in ("gfs-master", "gfs-chunkserver"):
            (programs / name).symlink_to(program(name))
        (programs / "gfsctl").write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
        (programs / "gfsctl").chmod(0o755)
    (tmp_path / "hosts" / "etc").mkdir()
    disks = [{"directory": "/srv/a", "capacity": "1MiB"}]
    refused = {"gfs_security": "none", "gfs_address": "192.0.2.9", "gfs_disks": disks}
    place = Path(local_hosts(copy, **refused, gfs_master_options={"dead_after_s": 1}))
    inventory = json.loads(place.read_text())
    masters = {f"m{n}": {"gfs_address": f"192.0.2.{n}"} for n in (1, 2, 3)}
    inventory["all"]["children"]["masters"]["hosts"] = masters
    place.write_text(json.dumps(inventory))
    ended = play(copy, program("ansible-playbook"), "-i", str(place), "config.yml")
    words = " ".join(ended.stdout.split())
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert words.count("fatal: [") == 1 and "86400.0 (m1, m2, m3);" in words, words
    assert "master.toml, line" in words and "chunkserver.toml, line" in words, words
    assert "capacity" in words and "/dev/stdin:" not in words, words
    assert "nothing was changed on any host" in words
    inventory = local_hosts(copy, gfs_security="none", gfs_disks=[{"directory": "srv/a"}])
    ended = play(copy, program("ansible-playbook"), "-i", inventory, "config.yml")
    assert "srv/a of cs1 must begin with /" in " ".join(ended.stdout.split()), ended.stdout
    assert list((tmp_path / "hosts" / "etc").iterdir()) == []
    assert not (tmp_path / "hosts" / "bin").exists(), "nor beside the commands of this machine"


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
    half = tmp_path / "hosts" / "cs1" / "releases" / whole.parent.name / "half"
    half.parent.mkdir(parents=True)
    half.touch()  # A run ended amid: pip would take such a one for installed.
    (copy / "install.yml").write_text(
        "- hosts: masters:chunkservers\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: gfs, tasks_from: wheel}\n"
        "    - ansible.builtin.import_role: {name: gfs, tasks_from: release}\n"
    )
    left_before = set(Path(tempfile.gettempdir()).glob("*.gfs-wheels"))
    run(copy, program("ansible-playbook"), "-i", inventory, "install.yml", umask=0o077)
    (found,) = (tmp_path / "hosts" / "cs1" / "releases").glob("*/bin/gfsctl")
    assert found.stat().st_mode & 0o055 == 0o055, (
        "who runs the daemons can read what root installed"
    )
    assert found.parent.stat().st_mode & 0o055 == 0o055
    assert not half.exists()
    assert set(Path(tempfile.gettempdir()).glob("*.gfs-wheels")) == left_before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_owner_of_the_keys_of_clients_gets_all_that_is_there(
    copy: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "hosts" / "etc" / "tls" / "client"
    keys.mkdir(parents=True)
    names = ["key.pem", "cert.pem", "ca.pem"]
    for name in names:
        (keys / name).touch(0o600)
    foreign = tmp_path / "foreign"
    foreign.touch(0o644)
    (keys / "link.pem").symlink_to(foreign)
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "now.key").touch()
    (copy / "tls.yml").write_text(ONLY.format(hosts="cs1", part="tls"))
    told = {"gfs_tls_role": "client", "gfs_tls_owner": "daemon", "gfs_ca": str(tmp_path / "ca")}
    command = [program("ansible-playbook"), "-i", local_hosts(copy, **told), "tls.yml"]
    foreseen = play(copy, *command, "--check").stdout
    assert [(keys / name).owner() for name in names] == ["root"] * 3
    played = play(copy, *command).stdout
    for text in (foreseen, played):
        assert [name for name in names if f"changed: [cs1] => (item={name})" not in text] == [], (
            text
        )
    assert [(keys / name).owner() for name in names] == ["daemon"] * 3
    assert {(keys / name).stat().st_mode & 0o777 for name in names} == {0o600}
    assert foreign.owner() == "root" and foreign.stat().st_mode & 0o777 == 0o644
    again = play(copy, *command).stdout
    assert "changed=0" in again and "failed=0" in again, again
