"""The units of systemd: hardened, limited, and in agreement with the daemons that they start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from gfs_ha.chunk.server import STOP_TIMEOUT_S as CHUNKSERVER_STOP_S
from gfs_ha.limits import STREAMS_MAX
from gfs_ha.master.server import STOP_TIMEOUT_S as MASTER_STOP_S
from gfs_ha.pulse import STALL_S

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
NAMES = ("gfs-master", "gfs-chunkserver")
EXPOSURE_MAX = 2.5
WAIT_S = 60.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (apt-get install systemd)",
)


def unit(name: str) -> ConfigParser:
    """Return the options of a unit; of those given several times the last one."""
    parser = ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / f"{name}.service", encoding="utf-8")
    return parser


def service(name: str, key: str) -> str:
    return unit(name)["Service"][key]


def seconds(text: str) -> float:
    return float(text.removesuffix("min")) * 60 if text.endswith("min") else float(text)


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_exposed_to_little(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    command += [f"--threshold={EXPOSURE_MAX * 10:.0f}", str(UNITS / f"{name}.service")]
    ended = subprocess.run(command, text=True, capture_output=True, timeout=WAIT_S)
    assert "Overall exposure level" in ended.stdout, ended.stderr
    assert ended.returncode == 0, ended.stdout


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    text = (UNITS / f"{name}.service").read_text(encoding="utf-8")
    # The program need not be installed on the machine of the tests.
    place = tmp_path / f"{name}.service"
    place.write_text(text.replace(f"/opt/gfs-ha/current/bin/{name}", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(place)]
    ended = subprocess.run(command, text=True, capture_output=True, timeout=WAIT_S)
    about = [line for line in ended.stderr.splitlines() if name in line]
    assert about == []


@needs_systemd
def test_a_unit_with_a_misspelt_line_would_be_noticed(tmp_path: Path) -> None:
    place = tmp_path / "gfs-odd.service"
    place.write_text(f"[Service]\nExecStart={sys.executable}\nProtectHme=yes\n")
    command = ["systemd-analyze", "verify", "--man=no", str(place)]
    ended = subprocess.run(command, text=True, capture_output=True, timeout=WAIT_S)
    assert "ProtectHme" in ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_starts_its_daemon_with_options_that_it_has(name: str) -> None:
    program, option, file, *further = service(name, "ExecStart").split()
    assert program == f"/opt/gfs-ha/current/bin/{name}"
    assert option == "--config" and file.startswith("/etc/gfs-ha/")
    assert all(word.startswith("$GFS_") for word in further)
    role = name.removeprefix("gfs-")
    command = [sys.executable, "-m", "gfs_ha.cli.daemons", role, "--help"]
    told = subprocess.run(command, text=True, capture_output=True, timeout=WAIT_S).stdout
    named = {"--config", "--insecure", "--log-level"} | ({"--bootstrap"} & {_first(name)})
    assert all(one in told for one in named)


def _first(name: str) -> str:
    """Return the option that a unit tells to give at the very first start; "" where none is."""
    text = (UNITS / f"{name}.service").read_text(encoding="utf-8")
    found = [word for word in text.split() if word.startswith("GFS_MASTER_FIRST=")]
    return found[0].partition("=")[2].rstrip(";") if found else ""


def test_only_a_master_has_a_first_start() -> None:
    assert _first("gfs-master") == "--bootstrap"
    assert _first("gfs-chunkserver") == ""


@pytest.mark.parametrize(
    ("name", "stop_s"), [(NAMES[0], MASTER_STOP_S), (NAMES[1], CHUNKSERVER_STOP_S)]
)
def test_a_unit_gives_its_daemon_the_time_that_it_takes(name: str, stop_s: float) -> None:
    assert service(name, "Type") == "notify"
    assert service(name, "KillSignal") == "SIGTERM"
    # Each part that ends may take that long, one after the other, and a leader hands over before.
    assert seconds(service(name, "TimeoutStopSec")) > 8 * stop_s
    # A slow disk is to be seen as such, and no reason to restart.
    assert STALL_S + seconds(service(name, "WatchdogSec")) >= 60.0


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_limits_what_its_daemon_takes(name: str) -> None:
    assert int(service(name, "LimitNOFILE")) >= 65536
    assert service(name, "MemoryMax") == "4G"
    assert service(name, "User") == service(name, "Group") == "gfs"
    assert service(name, "Restart") == "on-failure"
    assert int(unit(name)["Unit"]["StartLimitBurst"]) <= 10
    assert "2" in service(name, "RestartPreventExitStatus").split()


def test_a_chunkserver_may_have_a_thread_for_every_stream() -> None:
    assert int(service("gfs-chunkserver", "TasksMax")) >= 2 * STREAMS_MAX


def test_the_user_of_the_units_is_made_by_sysusers() -> None:
    lines = (UNITS / "gfs-ha.sysusers.conf").read_text(encoding="utf-8").splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith("#")] == [["u", "gfs"]]
