"""Booted Debian hosts with systemd, sshd, a network and a disk each; nothing of them stays behind.

A host is a systemd-nspawn container on a clone of one image, in a network namespace of its own on
one bridge. All names carry the id of the process that made them: what a run that was killed left is
found and removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import run_guard
from lab_image import lab_directory, ready_image, ready_key, run

PREFIX = "gfslab"
NETWORK = "10.77.0"
CONTROL = f"{NETWORK}.254"
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_LOG = 2  # What was not synced is lost, the journal in memory too.
_DISK_BYTES = 1 << 30
_BOOT_S = 60.0
_END_S = 30.0
_LOOK_S = 0.1
_OWNED = re.compile(rf"{PREFIX}([0-9]+)-\S+")


@dataclass(slots=True)
class Host:
    """One machine of a lab."""

    name: str
    address: str
    home: Path
    namespace: str
    rack: str = "default"
    supervisor: subprocess.Popen[bytes] | None = None

    @property
    def first(self) -> int:
        """Return the process that is the host's first; 0: it does not run."""
        try:
            nspawn = int((self.home / "nspawn").read_text(encoding="ascii"))
            listed = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text(encoding="ascii")
            return int(listed.split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def boot(self) -> None:
        """Start it, and return; `wait` until it can be reached."""
        assert self.supervisor is None, f"{self.name} runs already"
        self.home.mkdir(parents=True, exist_ok=True)
        machine = Path(__file__).with_name("lab_machine.py")
        command = ["unshare", "-m", "--propagation", "private", sys.executable, str(machine)]
        command += [str(self.home), self.namespace, self.name]
        with (self.home / "machine.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                command,
                env=run_guard.unmarked(),  # It has more to take down than itself.
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return once its sshd answers. Raises: RuntimeError."""
        until_s = time.monotonic() + _BOOT_S
        probe = ["ip", "netns", "exec", self.namespace, "ss", "-Hltn", "sport", "=", ":22"]
        while not subprocess.run(probe, text=True, capture_output=True).stdout.strip():
            if self.supervisor is None or self.supervisor.poll() is not None:
                raise RuntimeError(f"{self.name} ended while it booted: {self._logs()}")
            if time.monotonic() > until_s:
                raise RuntimeError(f"{self.name} has no sshd: {self._logs()}")
            time.sleep(_LOOK_S)

    def run(self, *command: str, timeout_s: float = 60.0) -> str:
        """Run a program there as root. Raises: RuntimeError with its words."""
        # Joined without what a host may not do either: the clock is that of this machine.
        joined = ["nsenter", "-t", str(self.first), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        joined += ["setpriv", "--bounding-set=-sys_time,-sys_rawio,-mac_admin,-mac_override"]
        joined += [
            "env",
            "-i",
            "HOME=/root",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            *command,
        ]
        return run(joined, timeout_s)

    def halt(self) -> None:
        """Shut it down in order."""
        if self.supervisor is not None:
            self.supervisor.terminate()
        self._ended()

    def power_cut(self) -> None:
        """End it at once; of its disk remains what was synced, as on a machine."""
        assert self.supervisor is not None, f"{self.name} does not run"
        self.unplug()
        _shut_down(Path(f"/proc/{self.supervisor.pid}/root{self.home / 'data'}"))
        first = self.first
        if first:
            os.kill(first, signal.SIGKILL)
        self._ended()
        self.plug()

    def unplug(self) -> None:
        """Cut it off from all others."""
        run(["ip", "-n", self.namespace, "link", "set", "eth0", "down"])

    def plug(self) -> None:
        """Let it be on the network again."""
        run(["ip", "-n", self.namespace, "link", "set", "eth0", "up"])

    def mount(self, place: str) -> None:
        """Give it one disk more, until it ends."""
        image = self.home / f"{place.strip('/').replace('/', '-')}.img"
        with image.open("wb") as file:
            file.truncate(_DISK_BYTES)
        run(["mkfs.ext4", "-q", "-m0", "-E", "lazy_itable_init=1", str(image)])
        device = run(["losetup", "-f", "--show", str(image)]).strip()
        try:
            number = os.stat(device).st_rdev
            node = f"mknod {device} b {os.major(number)} {os.minor(number)}"
            mount = f"mount -t ext4 -o errors=remount-ro {device} {place}"
            script = f"mkdir -p {place}; {node}; {mount}; rm {device}"
            run(["nsenter", "-t", str(self.first), "-m", "sh", "-ec", script])
        finally:
            run(["losetup", "-d", device])  # It goes once nothing has it mounted.

    def fail_disk(self, place: str) -> None:
        """Have a disk that was mounted answer everything with an error from now on."""
        _shut_down(Path(f"/proc/{self.first}/root{place}"))

    def protect_disk(self, place: str) -> None:
        """Have a disk that was mounted become read-only, as after an error that was found."""
        mounts = Path(f"/proc/{self.first}/mountinfo").read_text(encoding="ascii")
        (device,) = (
            line.split(" - ")[1].split()[1] for line in mounts.splitlines() if f" {place} " in line
        )
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        trigger.write_text("gfs-ha lab", encoding="ascii")

    def _ended(self) -> None:
        if self.supervisor is None:
            return
        try:
            self.supervisor.wait(_END_S)
        except subprocess.TimeoutExpired:
            first = self.first
            if first:
                os.kill(first, signal.SIGKILL)
            self.supervisor.wait(_END_S)
        self.supervisor = None

    def _logs(self) -> str:
        found = [self.home / "machine.log", self.home / "console.log"]
        return "\n".join(one.read_text(errors="replace")[-2000:] for one in found if one.exists())


@dataclass(slots=True)
class Lab:
    """So many hosts on one network: `with Lab(3) as lab:`."""

    count: int
    hosts: list[Host] = field(default_factory=list)
    directory: Path = field(default_factory=lab_directory)

    def __enter__(self) -> Lab:
        sweep(self.directory)
        try:
            self._rise()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def key(self) -> Path:
        """Return the private key of the user `ops`, who may do all by sudo."""
        return self.directory / "key"

    @property
    def home(self) -> Path:
        """Return the directory of this run."""
        return self.directory / f"run-{os.getpid()}"

    def add(self) -> Host:
        """Return a further host, booting."""
        number = len(self.hosts) + 1
        home = self.home / f"h{number}"
        address = f"{NETWORK}.{10 + number}"
        host = Host(f"h{number}", address, home, _name(f"h{number}"))
        _plug(host.namespace, address)
        self.hosts.append(host)
        host.boot()
        return host

    def on_network(self, *command: str) -> list[str]:
        """Return the command that runs a program on the network of the hosts."""
        return ["ip", "netns", "exec", _name("ctl"), *command]

    def close(self) -> None:
        """End all hosts and remove what they had."""
        for host in self.hosts:
            if host.supervisor is not None:
                host.supervisor.terminate()
        for host in self.hosts:
            host._ended()
        self.hosts.clear()
        sweep(self.directory, os.getpid())

    def _rise(self) -> None:
        image = ready_image(self.directory)
        ready_key(self.directory)
        self.home.mkdir(parents=True)
        (self.home / "image").symlink_to(image)
        names = [f"{NETWORK}.{10 + one} h{one}" for one in range(1, 41)]
        text = "\n".join(["127.0.0.1 localhost", f"{CONTROL} ctl", *names, ""])
        (self.home / "hosts").write_text(text, encoding="ascii")
        switch = _name("sw")
        run(["ip", "netns", "add", switch])
        run(["ip", "-n", switch, "link", "add", "br0", "type", "bridge"])
        run(["ip", "-n", switch, "link", "set", "br0", "up"])
        _plug(_name("ctl"), CONTROL)
        for _ in range(self.count):
            self.add()
        for host in self.hosts:
            host.wait()


def sweep(directory: Path, pid: int = 0) -> None:
    """Remove what runs left that are over, or the run of a process."""
    for line in run(["ip", "netns", "list"]).splitlines():
        found = _OWNED.match(line)
        if found and _over(int(found[1]), pid):
            run(["ip", "netns", "delete", found[0]])
    for home in directory.glob("run-*"):
        if _over(int(home.name.removeprefix("run-")), pid):
            shutil.rmtree(home, ignore_errors=True)


def _shut_down(place: Path) -> None:
    number = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(number, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG))
    finally:
        os.close(number)


def _over(owner: int, pid: int) -> bool:
    return owner == pid or not Path(f"/proc/{owner}").exists()


def _name(what: str) -> str:
    return f"{PREFIX}{os.getpid()}-{what}"


def _plug(namespace: str, address: str) -> None:
    """Make a network namespace with one interface on the bridge."""
    switch = _name("sw")
    far = f"v{namespace.rpartition('-')[2]}"
    run(["ip", "netns", "add", namespace])
    run(["ip", "-n", namespace, "link", "set", "lo", "up"])
    veth = ["ip", "link", "add", far, "netns", switch, "type", "veth"]
    run([*veth, "peer", "name", "eth0", "netns", namespace])
    run(["ip", "-n", switch, "link", "set", far, "master", "br0", "up"])
    run(["ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0"])
    run(["ip", "-n", namespace, "link", "set", "eth0", "up"])


def inventory(lab: Lab, groups: dict[str, Sequence[Host]]) -> str:
    """Return an Ansible inventory of hosts in groups."""
    ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    lines = []
    for group, hosts in groups.items():
        lines.append(f"[{group}]")
        lines += [f"{one.name} ansible_host={one.address} gfs_rack={one.rack}" for one in hosts]
    lines += ["[all:vars]", "ansible_user=ops", "ansible_become=true"]
    lines += [f"ansible_ssh_private_key_file={lab.key}", f"ansible_ssh_common_args='{ssh}'"]
    return "\n".join([*lines, "ansible_python_interpreter=/usr/bin/python3", ""])


def reachable(address: str, port: int) -> bool:
    """Return whether a port takes connections, in the network of whoever asks."""
    try:
        socket.create_connection((address, port), 1.0).close()
    except OSError:
        return False
    return True
