"""A cluster from nothing by `site.yml` on booted hosts: closed, repeatable, safe in power cuts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import Host, Lab
from lab_image import missing
from playbooks import Site, built_wheelhouse

HOSTS = 3
SIZE = 4 << 20
WAIT_S = 60.0
ADMIN = ("gfsctl", "--config", "/etc/gfs-ha/admin.toml", "--timeout", "5")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "GFS_TEST_DEPLOY" not in os.environ, reason="`make test-deploy` boots hosts"
    ),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheelhouse(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(HOSTS) as lab:
        yield lab


@pytest.fixture(scope="module")
def site(lab: Lab, wheelhouse: Path) -> Site:
    groups = {"masters": lab.hosts, "chunkservers": lab.hosts, "clients": lab.hosts[:1]}
    variables = {
        "gfs_cluster_id": "lab-1",
        "gfs_master_directory": "/data/master",
        "gfs_disks": [{"directory": "/data/disk1"}],
        "gfs_settings": {"chunk_size": "1MiB", "goal": 3},
    }
    return Site(lab, wheelhouse, groups, variables)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until_s, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.5)


def healthy(host: Host) -> bool:
    try:
        host.run(*ADMIN, "admin", "health")
    except RuntimeError:
        return False
    return True


def digest(host: Host, path: str) -> str:
    data = host.run("sh", "-c", f"{' '.join(ADMIN)} get -q {path} - | sha256sum")
    return data.split()[0]


def test_a_cluster_from_nothing_that_a_second_run_leaves_alone_and_a_power_cut_does_not_hurt(
    lab: Lab, site: Site
) -> None:
    first, second = lab.hosts[:2]
    foreseen = site.play("site.yml", "--check", "--diff")
    assert foreseen.changed > 0
    assert not lab.hosts[0].run("sh", "-c", "ls /opt/gfs-ha 2>/dev/null || true").strip()

    assert site.play("site.yml").changed > 0
    again = site.play("site.yml")
    assert again.changed == 0, again.text[-4000:]

    # Closed: whoever comes without a certificate hears nothing, and keys are their owners' alone.
    modes = first.run("sh", "-c", "stat -c '%U %a' /etc/gfs-ha/tls/*/key.pem").split()
    assert modes == ["root", "600", "gfs", "600", "root", "600", "gfs", "600"]
    first.run("sh", "-c", f"head -c {SIZE} /dev/urandom > /data/some; sync")
    first.run(*ADMIN, "put", "-q", "/data/some", "/some")
    expected = first.run("sha256sum", "/data/some").split()[0]
    assert digest(second, "/some") == expected

    second.run("systemctl", "restart", "gfs-master", "gfs-chunkserver")
    wait_until(lambda: healthy(first), "all is well after a restart")
    first.power_cut()
    assert digest(second, "/some") == expected
    first.boot()
    first.wait()
    wait_until(lambda: healthy(first), "all is well after a power cut")
    assert digest(first, "/some") == expected

    gone = site.play("teardown.yml", "-e", "gfs_confirm=lab-1")
    assert gone.changed > 0
    assert first.run("sh", "-c", "ls -A /data/master /data/disk1").split() == [
        "/data/disk1:",
        "/data/master:",
    ]
