"""One booted host, from mounts to end: `unshare -m … lab_machine.py DIRECTORY NAMESPACE NAME`.

It has a mount namespace of its own: hosts that boot later would keep its disk mounted otherwise,
and no disk could be mounted again after a power cut. It ends, and takes the host along, when the
process that started it is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CONTROLLERS = (
    *("systemd", "unified", "cpu", "cpuacct", "memory", "pids", "blkio", "devices", "freezer"),
)
_CGROUPS = Path("/sys/fs/cgroup")
_REBOOTED = 133  # What systemd-nspawn ends with when its host rebooted.
_SHARES = 8 * 1024
_LOOK_S = 0.2
_UNMOUNT_S = 10.0
# The first process makes the controllers writable, so that limits of units bite.
_INIT = (
    "for c in cpu cpuacct memory pids blkio devices freezer; do"
    " mount -o remount,bind,rw,nosuid,nodev,noexec /sys/fs/cgroup/$c 2>/dev/null; done;"
    " exec /lib/systemd/systemd"
)


def main() -> None:
    """Mount, boot until it halts, unmount."""
    home, namespace, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    parent = os.getppid()
    children: list[subprocess.Popen[bytes]] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: [child.terminate() for child in children])
    _mount(home, name)
    groups = _enter_cgroups(name)
    try:
        while True:
            child = _boot(home, namespace, name)
            children[:] = [child]
            (home / "nspawn").write_text(str(child.pid), encoding="ascii")
            while child.poll() is None:
                time.sleep(_LOOK_S)
                if os.getppid() != parent:
                    _kill(child.pid)
            if child.returncode != _REBOOTED or os.getppid() != parent:
                break
    finally:
        (home / "nspawn").unlink(missing_ok=True)
        _leave_cgroups(groups)
        for place in ("data", "root"):
            _unmount(home / place)


def _mount(home: Path, name: str) -> None:
    for place in ("upper", "work", "root", "data"):
        (home / place).mkdir(exist_ok=True)
    image = home.parent / "image"
    layers = f"lowerdir={image},upperdir={home / 'upper'},workdir={home / 'work'}"
    _run("mount", "-t", "overlay", "overlay", "-o", layers, str(home / "root"))
    disk = home / "disk.img"
    if not disk.exists():
        with disk.open("wb") as file:
            file.truncate(int(os.environ.get("GFS_LAB_DISK", str(2 << 30))))
        _run("mkfs.ext4", "-q", "-m0", "-E", "lazy_itable_init=1", str(disk))
    _run("mount", "-o", "loop,noatime", str(disk), str(home / "data"))
    (home / "root/etc/hostname").write_text(f"{name}\n", encoding="ascii")
    (home / "root/etc/hosts").write_bytes((home.parent / "hosts").read_bytes())


def _boot(home: Path, namespace: str, name: str) -> subprocess.Popen[bytes]:
    command = ["systemd-nspawn", "-q", "-D", str(home / "root"), "--register=no", "--keep-unit"]
    command += [f"--machine={namespace}", "--kill-signal=SIGRTMIN+3", "--console=read-only"]
    command += [f"--network-namespace-path=/run/netns/{namespace}", "--resolv-conf=off"]
    command += ["--timezone=off", "--link-journal=no", f"--hostname={name}"]
    command += [f"--bind={home / 'data'}:/data", "/bin/sh", "-c", _INIT]
    with (home / "console.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _kill(nspawn: int) -> None:
    """End the host at once, with all of its processes."""
    listed = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text(encoding="ascii").split()
    for pid in [*map(int, listed), nspawn]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _enter_cgroups(name: str) -> list[Path]:
    made = []
    for controller in CONTROLLERS:
        root = _CGROUPS / controller
        if not (root / "cgroup.procs").exists():
            continue
        group = root / "gfs-lab" / f"{os.getpid()}-{name}"
        group.mkdir(parents=True, exist_ok=True)
        if controller == "cpu":
            # All hosts together would have the part of one process.
            (group.parent / "cpu.shares").write_text(str(_SHARES), encoding="ascii")
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        made.append(group)
    return made


def _leave_cgroups(groups: list[Path]) -> None:
    for group in groups:
        (group.parent.parent / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                _try(path.rmdir)
        _try(group.rmdir)
        _try(group.parent.rmdir)  # The last host takes it along.


def _try(action: object) -> None:
    try:
        action()  # type: ignore[operator]
    except OSError:
        pass


def _unmount(place: Path) -> None:
    until_s = time.monotonic() + _UNMOUNT_S
    while subprocess.run(["umount", str(place)], capture_output=True).returncode:
        if not os.path.ismount(place):
            return
        if time.monotonic() > until_s:
            subprocess.run(["umount", "-l", str(place)], capture_output=True)
            return
        time.sleep(_LOOK_S)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
