"""The units on booted hosts, installed as docs/install.md tells: ready, watched, ended in order."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import Host, Lab
from lab_image import missing

REPOSITORY = Path(__file__).resolve().parents[2]
WAIT_S = 90.0
_LOOK_S = 0.2
_BUILD_S = 900.0

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "GFS_TEST_DEPLOY" not in os.environ, reason="`make test-deploy` boots hosts"
    ),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


def blocks(heading: str) -> list[str]:
    """Return the commands that docs/install.md gives below a heading."""
    text = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def wait_until(look: Callable[[], object], what: str) -> object:
    until_s = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < until_s, f"waited {WAIT_S} s for {what}"
        time.sleep(_LOOK_S)
    return found


class Machine:
    """A booted host with our units."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = host.name

    def sh(self, script: str, timeout_s: float = WAIT_S) -> str:
        """Run a script as root. Raises: RuntimeError with its words."""
        words = f"PATH=/usr/local/bin:$PATH; {script}"
        return self.host.run("sh", "-euc", words, timeout_s=timeout_s)

    def write(self, path: str, text: str) -> None:
        self.sh(f"mkdir -p {shlex.quote(os.path.dirname(path))}")
        place = Path(f"/proc/{self.host.first}/root{path}")
        place.write_text(text, encoding="utf-8")

    def shown(self, unit: str, key: str) -> str:
        """Return what systemd knows of a unit."""
        return self.sh(f"systemctl show {unit} --property={key} --value").strip()

    def journal(self, unit: str) -> list[dict[str, str]]:
        lines = self.sh(f"journalctl --no-pager -o json -u {unit}").splitlines()
        return [json.loads(line) for line in lines]


def cluster(lab: Lab) -> str:
    masters = "".join(
        f'\n[[cluster.masters]]\nname = "m{number}"\nhost = "{host.address}"\n'
        "port = 7100\nraft_port = 7101\n"
        for number, host in enumerate(lab.hosts, 1)
    )
    settings = "\n[settings]\ngoal = 1\nmin_copies = 1\n"
    return f'security = "none"\n\n[cluster]\nid = "booted"\n{masters}{settings}'


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """Three hosts on which everything is installed and nothing is started."""
    out = tmp_path_factory.mktemp("built")
    command = [sys.executable, str(REPOSITORY / "deploy" / "packaging" / "build.py"), "wheelhouse"]
    subprocess.run([*command, "--out", str(out)], check=True, timeout=_BUILD_S)
    with Lab(3) as lab:
        found = [Machine(host) for host in lab.hosts]
        (by_hand,) = blocks("A host, by hand")
        for number, machine in enumerate(found, 1):
            root = f"/proc/{machine.host.first}/root"
            shutil.copytree(out / "wheelhouse", f"{root}/srv/wheelhouse")
            machine.sh(by_hand, timeout_s=_BUILD_S)
            text = cluster(lab)
            own = f'\n[master]\nname = "m{number}"\ndirectory = "/var/lib/gfs-ha/master"\n'
            machine.write("/etc/gfs-ha/master.toml", text + own)
            machine.write("/etc/gfs-ha/gfs.toml", text)
            machine.write("/etc/gfs-ha/master.env", "GFS_MASTER_FLAGS=--insecure\n")
        first = found[0]
        own = (
            f'\n[chunkserver]\nname = "cs1"\nlisten = "{first.host.address}:7200"\n'
            'directory = "/srv/gfs/d1"\n'
        )
        first.write("/etc/gfs-ha/chunkserver.toml", cluster(lab) + own)
        first.write("/etc/gfs-ha/chunkserver.env", "GFS_CHUNKSERVER_FLAGS=--insecure\n")
        first.sh("install -d -o gfs -g gfs -m 700 /srv/gfs/d1 /var/lib/gfs-ha/master")
        for role in ("master", "chunkserver", "admin"):
            first.write(f"/etc/gfs-ha/tls/{role}/key.pem", f"of the {role}")
        first.sh("chown -R gfs: /etc/gfs-ha/tls")
        yield found


@pytest.fixture(scope="module")
def running(machines: list[Machine]) -> list[Machine]:
    """The same, with a cluster that runs."""
    first = machines[0]
    # A chunkserver may come up first: it waits for its id, and is not ready meanwhile.
    first.sh("systemctl enable -q gfs-chunkserver && systemctl start --no-block gfs-chunkserver")
    waits = "waits for a leader that gives it an id"
    wait_until(lambda: first.shown("gfs-chunkserver", "StatusText") == waits, waits)
    assert first.shown("gfs-chunkserver", "ActiveState") == "activating"
    (first_start,) = blocks("The first start")
    for machine in machines:
        machine.sh(first_start)
        assert machine.shown("gfs-master", "ActiveState") == "active"
        assert "GFS_MASTER_FIRST" not in machine.sh("systemctl show-environment")
    wait_until(lambda: first.shown("gfs-chunkserver", "ActiveState") == "active", "a chunkserver")
    leader(machines)
    return machines


def leader(machines: list[Machine]) -> Machine:
    """Return who leads, as systemd shows it."""

    def look() -> Machine | None:
        for machine in machines:
            if machine.shown("gfs-master", "StatusText").startswith("leads in term"):
                return machine
        return None

    found = wait_until(look, "a leader")
    assert isinstance(found, Machine)
    return found


def test_the_daemons_serve_and_systemd_shows_what_they_do(running: list[Machine]) -> None:
    first, second, _ = running
    wait_until(lambda: first.shown("gfs-chunkserver", "StatusText") == "serves", "a heartbeat")
    second.sh("head -c 3000000 /dev/urandom > /tmp/file; gfsctl put -q /tmp/file /file")
    second.sh("gfsctl get -q /file /tmp/back; cmp /tmp/file /tmp/back")
    led = leader(running)
    rest = [machine for machine in running if machine is not led]
    wait_until(
        lambda: all("follows m" in one.shown("gfs-master", "StatusText") for one in rest),
        "followers",
    )


@pytest.mark.parametrize(("own", "other"), [("master", "chunkserver"), ("chunkserver", "master")])
def test_a_daemon_sees_no_key_and_no_store_but_its_own(
    running: list[Machine], own: str, other: str
) -> None:
    machine = running[0]
    pid = machine.shown(f"gfs-{own}", "MainPID")
    inside = f"nsenter -t {pid} -m setpriv --reuid=gfs --regid=gfs --clear-groups"
    assert machine.sh(f"{inside} cat /etc/gfs-ha/tls/{own}/key.pem") == f"of the {own}"
    for place in (f"/etc/gfs-ha/tls/{other}", "/etc/gfs-ha/tls/admin", f"/var/lib/gfs-ha/{other}"):
        machine.sh(f"test -d {place}")
        said = machine.sh(f"{inside} ls {place} 2>&1 || echo shut")
        assert said == f"ls: cannot open directory '{place}': Permission denied\nshut\n"


@pytest.mark.parametrize("unit", ["gfs-master", "gfs-chunkserver"])
def test_a_daemon_may_do_little_and_take_so_much(running: list[Machine], unit: str) -> None:
    machine = running[0]
    pid = machine.shown(unit, "MainPID")
    status = machine.sh(f"cat /proc/{pid}/status")
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert machine.sh(f"ps -o user= -p {pid}").strip() == "gfs"
    assert machine.shown(unit, "MemoryMax") == str(4 << 30)
    inside = f"nsenter -t {pid} -m setpriv --reuid=gfs --regid=gfs --clear-groups"
    assert machine.sh(f"{inside} touch /etc/gfs-ha/x 2>&1 || echo refused").endswith("refused\n")
    assert machine.sh(f"{inside} sh -c 'echo /dev/*' ").find("/dev/fuse") == -1


def test_the_journal_knows_how_grave_each_line_is(running: list[Machine]) -> None:
    machine = leader(running)
    found = [one for one in machine.journal("gfs-master") if one["_COMM"] == "gfs-master"]
    leads = [one for one in found if "leads now" in str(one["MESSAGE"])]
    assert leads and all(one["PRIORITY"] == "4" for one in leads)
    assert all(not str(one["MESSAGE"]).startswith("<") for one in found)
    assert {one["SYSLOG_IDENTIFIER"] for one in found} == {"gfs-master"}


def test_a_daemon_that_hangs_is_ended_and_started_again(running: list[Machine]) -> None:
    machine = running[0]
    machine.write(
        "/run/systemd/system/gfs-chunkserver.service.d/soon.conf",
        "[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\n",
    )
    machine.sh("systemctl daemon-reload && systemctl restart gfs-chunkserver")
    pid = machine.shown("gfs-chunkserver", "MainPID")
    machine.sh(f"kill -STOP {pid}")
    wait_until(lambda: machine.shown("gfs-chunkserver", "NRestarts") == "1", "a restart")
    wait_until(lambda: machine.shown("gfs-chunkserver", "ActiveState") == "active", "it serves")
    assert machine.shown("gfs-chunkserver", "MainPID") not in ("0", pid)
    said = [str(one["MESSAGE"]) for one in machine.journal("gfs-chunkserver")]
    assert any("Watchdog timeout" in line for line in said)
    # One that lives is left alone for much longer than its watchdog waits.
    time.sleep(10.0)
    assert machine.shown("gfs-chunkserver", "NRestarts") == "1"
    machine.sh("rm -r /run/systemd/system/gfs-chunkserver.service.d && systemctl daemon-reload")
    machine.sh("systemctl restart gfs-chunkserver")


def test_what_hangs_in_a_daemon_is_in_the_journal(running: list[Machine]) -> None:
    machine = running[0]
    before = machine.shown("gfs-chunkserver", "NRestarts")
    machine.sh("systemctl kill --signal=SIGABRT gfs-chunkserver")
    wait_until(lambda: machine.shown("gfs-chunkserver", "NRestarts") != before, "a restart")
    wait_until(lambda: machine.shown("gfs-chunkserver", "ActiveState") == "active", "it serves")
    said = "\n".join(str(one["MESSAGE"]) for one in machine.journal("gfs-chunkserver"))
    assert "Fatal Python error: Aborted" in said and "chunk/dataport.py" in said


def test_a_leader_that_is_stopped_hands_over_first(running: list[Machine]) -> None:
    led = leader(running)
    led.sh("systemctl stop gfs-master")
    said = [str(one["MESSAGE"]) for one in led.journal("gfs-master")]
    assert any("stopped master=" in line and "clean=True" in line for line in said)
    assert not any("without a successor" in line or "took over" in line for line in said)
    assert led.shown("gfs-master", "Result") == "success"
    rest = [machine for machine in running if machine is not led]
    successor = leader(rest)
    successor.sh("gfsctl ls / > /dev/null")
    led.sh("systemctl start gfs-master")
    assert led.shown("gfs-master", "NRestarts") == "0"


def test_a_file_that_is_wrong_is_not_tried_again_and_again(running: list[Machine]) -> None:
    machine = next(one for one in running if one is not leader(running))
    good = machine.sh("cat /etc/gfs-ha/master.toml")
    machine.write("/etc/gfs-ha/master.toml", good.replace("directory =", "diretory ="))
    try:
        machine.sh("systemctl restart gfs-master || true")
        assert machine.shown("gfs-master", "ActiveState") == "failed"
        assert machine.shown("gfs-master", "ExecMainStatus") == "2"
        assert machine.shown("gfs-master", "NRestarts") == "0"
    finally:
        machine.write("/etc/gfs-ha/master.toml", good)
    machine.sh("systemctl reset-failed gfs-master && systemctl start gfs-master")


def test_all_come_back_when_their_host_does(running: list[Machine]) -> None:
    machine = running[0]
    machine.host.halt()
    machine.host.boot()
    machine.host.wait()
    for unit in ("gfs-master", "gfs-chunkserver"):
        wait_until(lambda unit=unit: machine.shown(unit, "ActiveState") == "active", unit)
    wait_until(lambda: machine.shown("gfs-chunkserver", "StatusText") == "serves", "a heartbeat")
    running[1].sh("gfsctl get -q /file /tmp/again; cmp /tmp/file /tmp/again")
