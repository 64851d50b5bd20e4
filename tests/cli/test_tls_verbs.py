"""Certificates by the commands of operators: made, signed, listed, replaced, revoked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gfs_ha.cli.admin import tls_issue, tls_status
from gfs_ha.cli.shell import run
from gfs_ha.net.tls import Credentials
from gfs_ha.runtime import ThreadedRuntime


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("GFS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


class Tls:
    """`gfsctl admin tls` in this process, with the authority in ./gfs-ca."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Return status, output and errors of a command."""
        status = run(["admin", "tls", *words])
        told = self._capsys.readouterr()
        return status, told.out, told.err

    def ok(self, *words: str) -> str:
        status, out, err = self.run(*words)
        assert status == 0, err
        return out

    def refused(self, expected: int, *words: str) -> str:
        status, out, err = self.run(*words)
        assert status == expected, (status, out, err)
        return err

    def document(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Return what programs get."""
        found, out, err = self.run(*words, "-o", "json")
        assert found == status, err
        return dict(json.loads(out))


@pytest.fixture
def tls(capsys: pytest.CaptureFixture[str]) -> Tls:
    made = Tls(capsys)
    made.ok("init", "--cluster", "prod")
    return made


def test_an_authority_is_made_once_and_its_key_is_its_owners(tls: Tls, tmp_path: Path) -> None:
    assert "holds an authority already" in tls.refused(4, "init", "--cluster", "prod")
    assert "no cluster id" in tls.refused(2, "init", "--ca", "x", "--cluster", "a b")
    for place in ("now.key", ".lock"):
        assert (tmp_path / "gfs-ca" / place).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "gfs-ca").stat().st_mode & 0o777 == 0o700
    assert "would make" in tls.ok("init", "--ca", "other", "--cluster", "prod", "-n")
    assert not (tmp_path / "other").exists()


def test_the_cluster_is_that_of_the_configuration(tls: Tls, tmp_path: Path) -> None:
    file = tmp_path / "gfs.toml"
    file.write_text(
        'security = "tls"\n[cluster]\nid = "arch"\n[[cluster.masters]]\n'
        'name = "m1"\nhost = "127.0.0.1"\nport = 1\nraft_port = 2\n'
    )
    assert tls.document("init", "--ca", "arch")["cluster"] == "arch"
    tls.ok("issue", "ann", "--role", "client", "--out", "tls", "--ca", "arch")
    status = tls.document("status")
    assert status["directory"] == str(tmp_path / "tls")
    assert [row["name"] for row in status["items"]] == ["ann"]


def test_a_certificate_comes_with_its_key_and_is_good(tls: Tls, tmp_path: Path) -> None:
    words = ("issue", "m1", "--role", "master", "--host", "m1.example", "--host", "10.0.0.1")
    assert "would issue a certificate of master m1" in tls.ok(*words, "--out", "m1", "-n")
    assert not (tmp_path / "m1").exists()
    told = tls.document(*words, "--out", "m1")
    assert told["kind"] == "TlsChange" and told["done"] is True
    (row,) = told["items"]
    assert row["hosts"] == ["m1.example", "10.0.0.1"] and row["days_left"] == 364
    assert (tmp_path / "m1/key.pem").stat().st_mode & 0o777 == 0o600
    held = Credentials(tmp_path / "m1", "prod", ThreadedRuntime())
    assert held.own.uri == "gfs://prod/master/m1"
    assert f"{held.certificate.serial:x}" == row["serial"]


def test_what_makes_no_sense_is_refused(tls: Tls, tmp_path: Path) -> None:
    issue = ("issue", "m1", "--role", "master", "--out", "m1")
    assert "give its --host" in tls.refused(2, *issue)
    assert "no host" in tls.refused(2, *issue, "--host", "*.example")
    assert "no host" in tls.refused(2, *issue, "--host", "a b")
    assert "no name" in tls.refused(2, "issue", "a@b", "--role", "client", "--out", "x")
    tls.refused(2, *issue, "--host", "a", "--days", "399")
    tls.refused(2, "issue", "m1", "--role", "king", "--out", "x")
    assert "authority's directory" in tls.refused(
        2, "issue", "ann", "--role", "client", "--out", "gfs-ca"
    )
    tls.ok(*issue, "--host", "a")
    assert "directory of gfs://prod/master/m1" in tls.refused(
        4, "issue", "ann", "--role", "client", "--out", "m1"
    )
    assert "holds no authority" in tls.refused(
        3, "issue", "ann", "--role", "client", "--out", "x", "--ca", "nowhere"
    )


def test_a_key_never_leaves_the_node_that_made_it(tls: Tls, tmp_path: Path) -> None:
    request = ("request", "cs7", "--role", "chunkserver", "--host", "cs7", "--cluster", "prod")
    tls.ok(*request, "--out", "node")
    assert sorted(one.name for one in (tmp_path / "node").iterdir()) == ["key.pem", "request.pem"]
    assert "--same-key" in tls.refused(4, *request, "--out", "node")
    sign = ("issue", "cs7", "--role", "chunkserver", "--csr", "node/request.pem", "--out")
    assert "asks for gfs://prod/chunkserver/cs7, not for gfs://prod/master/cs7" in tls.refused(
        2, "issue", "cs7", "--role", "master", "--csr", "node/request.pem", "--out", "signed"
    )
    assert "ask anew" in tls.refused(2, *sign, "signed", "--host", "other")
    tls.ok(*sign, "signed")
    assert not (tmp_path / "signed/key.pem").exists()
    for one in (tmp_path / "signed").iterdir():
        (tmp_path / "node" / one.name).write_bytes(one.read_bytes())
    first = Credentials(tmp_path / "node", "prod", ThreadedRuntime()).certificate
    # A year later: the same key, and straight into the directory.
    tls.ok(*request, "--out", "node", "--same-key")
    tls.ok(*sign, "node")
    again = Credentials(tmp_path / "node", "prod", ThreadedRuntime()).certificate
    assert again.name == first.name and again.serial != first.serial


def test_what_is_signed_is_the_request_that_was_judged(tls: Tls, tmp_path: Path) -> None:
    """Whoever brings a request could put another one into its place in between."""
    tls.ok("request", "cs7", "--role", "chunkserver", "--host", "cs7", "--cluster", "prod",
           "--out", "asked")  # fmt: skip
    tls.ok("request", "eve", "--role", "admin", "--cluster", "prod", "--out", "meant")
    place, over = tmp_path / "request.pem", threading.Event()
    os.mkfifo(place)  # Says one thing when it is read first, and another one after.

    def bring() -> None:
        said = "asked"
        while not over.wait(0.01):
            try:
                number = os.open(place, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue  # Nobody reads it now.
            with open(number, "wb") as file:
                file.write((tmp_path / said / "request.pem").read_bytes())
            said = "meant"

    bringer = threading.Thread(target=bring)
    bringer.start()
    try:
        tls.ok("issue", "cs7", "--role", "chunkserver", "--csr", str(place), "--out", "signed")
    finally:
        over.set()
        bringer.join()
    there = json.loads(tls.run("status", "gfs-ca", "-o", "json")[1])["items"]
    assert [(one["role"], one["name"]) for one in there] == [("chunkserver", "cs7")]


def test_a_request_that_was_changed_is_refused(tls: Tls, tmp_path: Path) -> None:
    tls.ok("request", "ann", "--role", "client", "--cluster", "prod", "--out", "node")
    file = tmp_path / "node/request.pem"
    lines = file.read_text().splitlines()
    lines[-2] = lines[-2][::-1]
    file.write_text("\n".join(lines))
    told = tls.refused(2, "issue", "ann", "--role", "client", "--csr", str(file), "--out", "x")
    assert "request.pem: " in told
    file.write_text("nothing")
    told = tls.refused(2, "issue", "ann", "--role", "client", "--csr", str(file), "--out", "x")
    assert "is no request" in told and "https" not in told, "the words of a library stay here"
    (tmp_path / "ann-before").mkdir()
    for name in ("ca.pem", "crl.pem"):
        (tmp_path / "ann-before" / name).write_text("nothing")
    told = tls.refused(2, "status", "ann-before")
    assert "ca.pem: holds no certificate" in told and "https" not in told


def test_status_counts_days_and_ends_with_8_before_they_are_over(tls: Tls) -> None:
    tls.ok("issue", "ann", "--role", "client", "--out", "ann")
    assert "364" in tls.ok("status", "ann")
    tls.ok("issue", "bob", "--role", "client", "--out", "bob", "--days", "29")
    assert "client bob runs out in 28 days: issue a new one" in tls.refused(8, "status", "bob")
    assert tls.document("status", "bob", status=8)["items"][0]["state"] == "expiring"
    assert "client bob" in tls.refused(8, "status", "gfs-ca")
    tls.ok("issue", "bob", "--role", "client", "--out", "bob")
    tls.ok("status", "gfs-ca")  # He has a newer one.
    told = tls.document("status", "gfs-ca")
    assert (len(told["items"]), told["older"]) == (2, 1), "what he had before is over"
    assert "1 certificate" in tls.ok("status", "gfs-ca").splitlines()[-1]
    told = tls.document("status", "gfs-ca", "--all")
    assert (len(told["items"]), told["older"]) == (3, 0)


def test_status_shows_a_good_certificate_whose_newer_one_has_run_out(
    tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls.ok("issue", "bob", "--role", "client", "--out", "bob")
    soon = tls_status.now() + timedelta(seconds=2)
    monkeypatch.setattr(tls_issue, "now", lambda: soon)
    tls.ok("issue", "bob", "--role", "client", "--out", "short", "--days", "2")
    assert tls.document("status", "gfs-ca", status=8)["older"] == 1
    later = tls_status.now() + timedelta(days=3)
    monkeypatch.setattr(tls_status, "now", lambda: later)
    told = tls.document("status", "gfs-ca")
    assert sorted(row["state"] for row in told["items"]) == ["expired", "good"], "nodes let it in"
    assert told["older"] == 0


def test_of_a_name_with_one_role_that_is_revoked_and_of_several_they_are_named(tls: Tls) -> None:
    for role in ("master", "chunkserver"):
        tls.ok("issue", "h4", "--role", role, "--host", "10.0.0.4", "--out", role)
    several = "'h4' is the name of chunkserver and master; give --role chunkserver or --role master"
    assert several in tls.refused(2, "revoke", "h4", "-y")
    other = "no certificate of 'h4' to revoke: it was issued as chunkserver and master, not client;"
    assert other in tls.refused(3, "revoke", "h4", "--role", "client", "-y")
    assert "revoked 1 certificate of master h4" in tls.ok("revoke", "h4", "--role", "master", "-y")
    assert tls.ok("revoke", "h4", "-n") == "would revoke 1 certificate of chunkserver h4\n"
    assert "revoked 1 certificate of chunkserver h4" in tls.ok("revoke", "h4", "-y")
    serial = tls.document("status", "gfs-ca")["items"][0]["serial"]
    wrong = f"no certificate of '{serial}' to revoke: it was issued as chunkserver, not admin;"
    assert wrong in tls.refused(3, "revoke", serial, "--role", "admin", "-y")


def test_who_is_revoked_is_shut_out_where_the_list_arrives(tls: Tls) -> None:
    for name in ("ann", "bob"):
        tls.ok("issue", name, "--role", "client", "--out", name)
    tls.ok("issue", "ann", "--role", "admin", "--out", "ann2")
    assert "give --role" in tls.refused(2, "revoke", "ann", "-y")
    assert "no terminal to ask at" in tls.refused(2, "revoke", "bob")
    would = tls.document("revoke", "ann", "--role", "client", "-n")
    assert would["done"] is False
    tls.ok("status", "ann")
    tls.ok("revoke", "ann", "--role", "client", "-y")
    tls.ok("status", "ann")  # Nobody has told it yet.
    tls.ok("trust", "ann", "bob")
    assert "client ann is revoked" in tls.refused(8, "status", "ann")
    tls.ok("status", "bob")
    assert tls.document("status", "bob")["revoked"] == 1
    tls.ok("status", "ann2")
    assert "all of it are revoked" in tls.refused(3, "revoke", "ann", "--role", "client", "-y")
    assert "never issued" in tls.refused(3, "revoke", "eve", "-y")
    serial = tls.document("status", "bob")["items"][0]["serial"]
    tls.ok("revoke", serial, "-y")
    states = {
        (row["name"], row["role"]): row["state"]
        for row in tls.document("status", "gfs-ca")["items"]
    }
    assert states == {
        ("ann", "client"): "revoked",
        ("ann", "admin"): "good",
        ("bob", "client"): "revoked",
    }


def test_an_authority_is_replaced_in_steps(tls: Tls, tmp_path: Path) -> None:
    for name in ("ann", "bob", "eve"):
        tls.ok("issue", name, "--role", "client", "--out", name)
    tls.ok("revoke", "eve", "-y")
    before = (tmp_path / "gfs-ca/ca.pem").read_bytes()
    assert "no rotation" in tls.refused(4, "rotate", "--finish")
    tls.ok("rotate", "-n")
    assert (tmp_path / "gfs-ca/ca.pem").read_bytes() == before
    tls.ok("rotate")
    assert "under way" in tls.refused(4, "rotate")
    tls.ok("trust", "ann", "bob")
    assert "of the old authority" in tls.refused(8, "status", "bob")
    status = tls.document("status", "bob", status=8)
    assert [one["current"] for one in status["authorities"]] == [True, False]
    assert status["revoked"] == 1, "what was revoked stays so while a rotation lasts"
    tls.ok("issue", "ann", "--role", "client", "--out", "ann")
    assert "client bob still uses a certificate" in tls.refused(4, "rotate", "--finish")
    assert "shut out client bob, and takes -y" in tls.ok("rotate", "--finish", "-n")
    assert "-y" not in tls.ok("rotate", "--finish", "-n", "-y")
    tls.ok("rotate", "--finish", "-y")
    tls.ok("trust", "ann", "bob")
    tls.ok("status", "ann")
    assert "not issued by an authority" in tls.refused(2, "status", "bob")
    assert not (tmp_path / "gfs-ca/old.key").exists()
    every = tls.document("status", "gfs-ca", "--all")["items"]
    states = [(row["name"], row["state"]) for row in every]
    assert sorted(states)[:3] == [("ann", "distrusted"), ("ann", "good"), ("bob", "distrusted")]


def test_trust_writes_only_into_directories_of_nodes(tls: Tls, tmp_path: Path) -> None:
    assert "authority's directory" in tls.refused(2, "trust", "gfs-ca")
    assert "no directory" in tls.refused(3, "trust", "nowhere")
    (tmp_path / "node").mkdir()
    assert "would write" in tls.ok("trust", "node", "-n")
    assert not list((tmp_path / "node").iterdir())


def test_trust_for_a_directory_that_is_no_nodes_is_told(tls: Tls, tmp_path: Path) -> None:
    tls.ok("issue", "ann", "--role", "client", "--out", "ann/tls")
    for words in (("trust", "ann/tls", "ann", "-n"), ("trust", "ann/tls", "ann")):
        status, _, told = tls.run(*words)
        assert status == 0 and told.count("no certificate and no key") == 1
        assert "warning: ann holds" in told and "[security]" in told
    (tmp_path / "node").mkdir()
    (tmp_path / "node/key.pem").touch()  # Its request is on the way.
    assert tls.run("trust", "node")[2] == ""


def test_nothing_is_signed_for_a_directory_that_cannot_be_written(tls: Tls, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tls.ok("request", "bob", "--role", "client", "--cluster", "prod", "--out", "bob")
    for words in (("ann",), ("bob", "--csr", "bob/request.pem")):
        told = tls.refused(2, "issue", *words, "--role", "client", "--out", "file/tls")
        assert "file/tls: cannot be made" in told
    assert not list((tmp_path / "gfs-ca/issued").iterdir())


def test_a_nodes_directory_is_not_called_an_authoritys(tls: Tls) -> None:
    tls.ok("issue", "ann", "--role", "client", "--out", "ann")
    assert "directory of a node" in tls.refused(4, "init", "--ca", "ann", "--cluster", "prod")


def test_a_daemon_says_beforehand_whether_its_certificate_is_right(
    tls: Tls, tmp_path: Path
) -> None:
    (tmp_path / "m1.toml").write_text(
        'security = "tls"\n[cluster]\nid = "prod"\n[[cluster.masters]]\nname = "m1"\n'
        'host = "127.0.0.1"\nport = 1\nraft_port = 2\n[master]\nname = "m1"\ndirectory = "data"\n'
    )

    def check() -> tuple[int, str]:
        command = [sys.executable, "-m", "gfs_ha.cli.daemons", "master", "--check-config"]
        done = subprocess.run(
            [*command, "--config", "m1.toml"], capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    status, told = check()
    assert status == 2 and "tls/ca.pem: cannot be read" in told
    tls.ok("issue", "m2", "--role", "master", "--host", "127.0.0.1", "--out", "tls")
    status, told = check()
    assert status == 2 and "holds the certificate of master m2, this is master m1" in told
    (tmp_path / "tls/cert.pem").unlink()
    tls.ok("issue", "m1", "--role", "master", "--host", "127.0.0.1", "--out", "tls")
    status, told = check()
    assert status == 0 and "right (cluster prod); its certificate is good until 20" in told


def test_nodes_of_another_cluster_are_not_told_whom_to_trust(tls: Tls, tmp_path: Path) -> None:
    tls.ok("init", "--ca", "other", "--cluster", "test")
    tls.ok("issue", "ann", "--role", "client", "--out", "ours")
    tls.ok("issue", "bob", "--role", "client", "--out", "theirs", "--ca", "other")
    before = {one: one.read_bytes() for one in (tmp_path / "ours").iterdir()}
    kept = (tmp_path / "theirs/ca.pem").read_bytes()
    for words in (("trust", "ours", "theirs"), ("trust", "ours", "theirs", "-n")):
        assert "gfs://test/client/bob" in tls.refused(4, *words)
    assert (tmp_path / "theirs/ca.pem").read_bytes() == kept
    # Nothing is half done: the one before it is as it was, too.
    assert {one: one.read_bytes() for one in (tmp_path / "ours").iterdir()} == before
    Credentials(tmp_path / "theirs", "test", ThreadedRuntime())


def test_a_serial_is_taken_as_the_screen_shows_it(tls: Tls) -> None:
    for name in ("ann", "bob"):
        tls.ok("issue", name, "--role", "client", "--out", name)
    lines = tls.ok("status", "gfs-ca").splitlines()
    shown = next(line for line in lines if line.split()[:1] == ["ann"]).split()[-1]
    assert len(shown) == 12
    for known in (shown, f"0x{shown.upper()}", shown[:8]):
        assert "would revoke 1 certificate of client ann" in tls.ok("revoke", known, "-n")
    assert "give the first 8 digits" in tls.refused(3, "revoke", shown[:7], "-n")
    assert "never issued here; see" in tls.refused(3, "revoke", "f" * 12, "-n")
    tls.ok("revoke", shown, "-y")
    states = {row["name"]: row["state"] for row in tls.document("status", "gfs-ca")["items"]}
    assert states == {"ann": "revoked", "bob": "good"}


def test_digits_of_several_serials_revoke_nothing(tls: Tls, tmp_path: Path) -> None:
    tls.ok("issue", "ann", "--role", "client", "--out", "ann")
    (kept,) = (tmp_path / "gfs-ca/issued").iterdir()
    shutil.copy(kept, kept.with_name("again.pem"))  # Random ones hardly ever begin alike.
    serial = tls.document("status", "ann")["items"][0]["serial"]
    assert "give more" in tls.refused(2, "revoke", serial[:12], "-y")
    assert tls.document("status", "gfs-ca")["items"][0]["state"] == "good"
