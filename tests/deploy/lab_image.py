"""The root file system that all booted hosts of the tests are clones of, made once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

RELEASE = "bookworm"
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,python3-venv,iproute2,sudo,"
    "ca-certificates,procps,rsync"
)
TOOLS = ("debootstrap", "systemd-nspawn", "ip", "ssh-keygen", "unshare", "mkfs.ext4", "losetup")
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("console-getty.service", "e2scrub_all.timer", "systemd-timesyncd.service"),
)
_SSH_KEYS = (
    "[Service]\nExecStartPre=\n"
    "ExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n"
)
_BUILD_S = 900.0


def lab_directory() -> Path:
    """Return where the image and what hosts install are kept: $GFS_LAB, ~/.cache/gfs-ha/lab."""
    named = os.environ.get("GFS_LAB")
    return Path(named) if named else Path.home() / ".cache" / "gfs-ha" / "lab"


def missing() -> str:
    """Return why no host can be booted here; empty: they can."""
    if os.geteuid() != 0:
        return "hosts are booted by root only"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    return ""


def ready_image(lab: Path) -> Path:
    """Return the root file system, which is made if it is not there yet (about 70 s)."""
    base = lab / "image"
    done = base / ".done"
    if done.exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    build = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(base)]
    run(build, timeout_s=_BUILD_S)
    _settle(base, ready_key(lab))
    done.touch()
    return base


def ready_key(lab: Path) -> Path:
    """Return the private key that opens the hosts."""
    key = lab / "key"
    if not key.exists():
        lab.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    return key


def run(command: list[str], timeout_s: float = 60.0) -> str:
    """Run a program to its end and return what it said. Raises: RuntimeError with its words."""
    ended = subprocess.run(
        command, text=True, capture_output=True, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    if ended.returncode:
        said = (ended.stdout + ended.stderr)[-4000:]
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{said}")
    return ended.stdout


def _settle(base: Path, key: Path) -> None:
    """Make the image that of a plain host: a user with sudo, sshd, no network services."""
    run(["chroot", str(base), "useradd", "-m", "-s", "/bin/bash", "ops"])
    _write(base / "etc/sudoers.d/ops", "ops ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    ssh = base / "home/ops/.ssh"
    ssh.mkdir(mode=0o700)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    _write(ssh / "authorized_keys", public, 0o600)
    run(["chroot", str(base), "chown", "-R", "ops:", "/home/ops"])
    run(["chroot", str(base), "systemctl", "mask", "-q", *_MASKED])
    for path in base.glob("etc/ssh/ssh_host_*"):
        path.unlink()
    _write(base / "etc/machine-id", "", 0o444)
    _write(base / "etc/ssh/sshd_config.d/lab.conf", "UseDNS no\n", 0o644)
    _write(base / "etc/systemd/system/ssh.service.d/keys.conf", _SSH_KEYS, 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
