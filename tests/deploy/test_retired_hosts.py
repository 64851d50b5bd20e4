"""Hosts that `decommission.yml` took out and that are still in the inventory: left alone by all."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from local_play import ONLY, answer_all, local_hosts, play, program

from gfs_ha.checksum import crc32c

LEFT = "was decommissioned and is left alone"
UNKNOWN = "the cluster knows no chunkserver cs1"
CLUSTER_RUNS = ["config.yml", "rolling_upgrade.yml"]


def retire(place: Path, words: str = "cs1, emptied, server 0x1f") -> Path:
    mark = place / "hosts" / "cs1" / "decommissioned"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{words}\n")
    return mark


def answer(place: Path, *known: str, mode: str = "in-service") -> None:
    """Have a cluster that knows these chunkservers; its hosts run a release 1.0."""
    same = {"server_id": "0x1f", "mode": mode, "state": "live", "labels": []}
    rows = [{"name": name, **same} for name in known]
    told = json.dumps({"items": rows, "meta": {"leader": "m1"}})
    answer_all(place, f"echo {shlex.quote(told)}")


def check(copy: Path, *playbooks: str) -> tuple[int, str]:
    """Return how a check of playbooks for cs1 ended, and what it said."""
    inventory = local_hosts(copy, gfs_version="1.0", gfs_user="daemon")
    # A check, as these hosts are this machine, should it ever do anything.
    command = [program("ansible-playbook"), "-i", inventory, "--check", "--diff"]
    ended = play(copy, *command, "--limit", "cs1", *playbooks)
    return ended.returncode, " ".join(ended.stdout.split())


def test_nobody_brings_back_by_accident_what_was_decommissioned(copy: Path, tmp_path: Path) -> None:
    answer(tmp_path, "m1")
    retire(tmp_path)
    for playbooks in (["site.yml", "tls_rotate.yml", "scale_out.yml"], CLUSTER_RUNS):
        status, said = check(copy, *playbooks)
        assert status == 0, said
        assert said.count(LEFT) == 1 and "-e back=cs1" in said, said
        assert "changed=0" in said, said


@pytest.mark.parametrize("known", ["cs1", "cs7"])
def test_a_chunkserver_that_is_down_is_started_only_where_the_cluster_knows_it(
    copy: Path, tmp_path: Path, known: str
) -> None:
    """Another one may have been dead when it was taken out, and came back."""
    answer(tmp_path, known)
    status, said = check(copy, *(CLUSTER_RUNS if known == "cs7" else ["rolling_upgrade.yml"]))
    if known == "cs1":
        assert UNKNOWN not in said and "Restart its daemons" in said, said
    else:
        assert status == 0 and UNKNOWN in said and "changed=0" in said, said


def test_no_disk_is_replaced_of_a_server_that_was_taken_out(copy: Path, tmp_path: Path) -> None:
    answer(tmp_path)
    retire(tmp_path)
    status, said = check(copy, "replace_disk.yml", "-e", "host=cs1", "-e", "disk=/srv/a")
    assert status == 2 and "was decommissioned: it has no disks" in said, said
    assert "nothing was done" in said and "changed=0" in said


def test_it_is_noted_which_server_was_emptied(copy: Path, tmp_path: Path) -> None:
    answer(tmp_path, "cs1", mode="decommissioned")
    retire(tmp_path, "cs9, emptied, server 0x3")  # Of a life before.
    _, said = check(copy, "decommission.yml", "-e", "host=cs1")
    assert "-cs9, emptied, server 0x3 +cs1, emptied, server 0x1f" in said, said


@pytest.mark.parametrize(
    ("own", "known", "refused"),
    [
        ("cs7", ("cs1", "cs7"), True),  # It would empty the one and stop the other.
        ("cs7", ("cs7",), True),
        ("cs1", ("cs1", "cs7"), False),
        ("cs7", ("cs1",), True),  # Of a life before: cs1 lives somewhere else.
        ("cs7", (), False),
        ("", ("cs7",), False),
    ],
)
def test_who_is_called_otherwise_on_its_host_is_not_taken_out_for_another(
    copy: Path, tmp_path: Path, own: str, known: tuple[str, ...], refused: bool
) -> None:
    answer(tmp_path, *known)
    etc = tmp_path / "hosts" / "etc"
    etc.mkdir()
    if own:
        masters = '[[cluster.masters]]\nname = "m1"\n'
        (etc / "chunkserver.toml").write_text(f'{masters}\n[chunkserver]\nname = "{own}"\n')
    _, said = check(copy, "decommission.yml", "-e", "host=cs1")
    words = "calls the chunkserver of cs1 cs1, and cs7 is what runs there"
    assert (words in said and "nothing was done" in said) == refused, said
    assert ("Stop it for good" in said) == (not refused), said


def identity(cluster: str, server: int, name: str) -> str:
    fields = {"cluster_id": cluster, "server_id": server, "disk_id": 9, "name": name}
    text = json.dumps(fields, indent=2)
    return f"{text}\n{crc32c(text.encode()):08x}\n"


HERS = {"identity.json", "disks.json", "epoch", "scrub", "appends.journal", "0000000a.slot"}
# What is noted of each, whose its disk is, further files there and variables; why it is refused.
RETURNS: dict[str, tuple[str, str, set[str], dict[str, object], str]] = {
    "good": (", emptied, server 0x1f", identity("lab-1", 31, "good"), set(), {}, ""),
    "amid": (
        *(", emptied, server 0x1f", identity("lab-1", 31, "amid"), set()),
        *({"gfs_mode": "decommissioned", "gfs_member": "0x1f"}, ""),
    ),
    "hand": ("", identity("lab-1", 31, "hand"), set(), {}, "not decommission.yml that emptied"),
    "elsewhere": (
        *(", emptied, server 0x1f", identity("lab-2", 31, "elsewhere"), set(), {}),
        "what another server had",
    ),
    "anew": (
        *(", emptied, server 0x1f", identity("lab-1", 32, "anew"), set(), {}),
        "what another server had",
    ),
    "damaged": (", emptied, server 0x1f", "", set(), {}, "what another server had"),
    "renamed": (
        *(", emptied, server 0x1f", identity("lab-1", 31, "cs9"), set(), {"gfs_name": "cs9"}),
        "emptied is renamed, another one",
    ),
    "used": (
        *(", emptied, server 0x1f", identity("lab-1", 31, "used"), {"photos.tar"}, {}),
        "photos.tar is of no chunkserver",
    ),
    "twice": (
        *(", emptied, server 0x1f", identity("lab-1", 31, "twice"), set()),
        *({"gfs_mode": "in-service", "gfs_member": "0x20"}, "give this one another name"),
    ),
    "bare": (
        *(", emptied, server 0x1f", identity("lab-1", 31, "bare"), set(), {"mounted": True}),
        "nothing is mounted on",
    ),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="files of root's are made")
def test_who_comes_back_has_nothing_deleted_but_what_was_its_own_and_emptied(
    copy: Path, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    answer_all(tmp_path, f'echo "$*" >> {heard}')
    hosts, disks, marks = {}, {}, {}
    for name, (noted, whose, more, said, _) in RETURNS.items():
        mark = tmp_path / "hosts" / name / "decommissioned"
        disk = mark.with_name("disk1")
        (disk / "lost+found").mkdir(parents=True)
        mark.write_text(f"{name}{noted}\n")
        for file in HERS | more:
            (disk / file).write_text(whose if file == "identity.json" else "x")
        (disk / "lost+found" / "#12").touch()
        row = {"directory": str(disk), **({"mounted": True} if "mounted" in said else {})}
        mark.with_name("current").symlink_to(tmp_path / "hosts" / "m1" / "current")
        hosts[name] = {"gfs_mode": "gone", "gfs_member": "", "gfs_disks": [row], **said}
        disks[name], marks[name] = disk, mark
    inventory = Path(local_hosts(copy, gfs_security="none"))
    known = json.loads(inventory.read_text())
    known["all"]["children"]["chunkservers"] = {"hosts": hosts}
    inventory.write_text(json.dumps(known))
    (copy / "back.yml").write_text(ONLY.format(hosts="chunkservers", part="back"))
    command = [program("ansible-playbook"), "-i", str(inventory), "-f", "10", "back.yml"]

    foreseen = play(copy, *command, "--check").stdout
    assert all({one.name for one in disk.iterdir()} > HERS for disk in disks.values()), foreseen
    assert all(mark.exists() for mark in marks.values()) and not heard.exists()
    said = " ".join(play(copy, *command).stdout.split())
    for name, (_, _, more, _, why) in RETURNS.items():
        left = {one.name for one in disks[name].iterdir()} - {"lost+found"}
        told = said.partition(f"fatal: [{name}")[2].partition("fatal: [")[0]
        assert (why in told) if why else not told, (name, said)
        assert left == (set() if name == "good" else HERS | more), (name, said)
        assert (disks[name] / "lost+found" / "#12").exists()
        assert marks[name].exists() == bool(why), name
        assert ("nothing was deleted" in told) == bool(why)
    told = heard.read_text().splitlines()
    assert len(told) == 1 and told[0].endswith(" admin chunkservers undrain amid"), told
    assert "good : ok=" in said and foreseen.count("failed=1") == said.count("failed=1") == 8
