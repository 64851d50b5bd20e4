"""Certificates whose end is near are found in time, by whose they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gfs_ha.errors import GfsError, Unreachable
from gfs_ha.master.certificate_health import CertificateEnd, TlsSymptoms, certificate_findings
from gfs_ha.master.certificates import CertificateWatch
from gfs_ha.net.tls import Credentials
from gfs_ha.pki.authority import create, opened
from gfs_ha.pki.enrolment import enrol
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.protocol.reports import Finding, MasterFacts
from gfs_ha.runtime import ThreadedRuntime

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
PATIENCE_S = 10.0


def findings(*ends: CertificateEnd, list_days: int = 30) -> list[Finding]:
    until_ms = NOW_MS + list_days * DAY_MS if list_days > -99 else 0
    return list(certificate_findings(TlsSymptoms(ends, until_ms), NOW_MS))


def end(days: float, subject: str = "cs1") -> CertificateEnd:
    return CertificateEnd(f"the certificate of {subject}", NOW_MS + int(days * DAY_MS), subject)


def test_without_certificates_nothing_is_found() -> None:
    assert list(certificate_findings(None, NOW_MS)) == []


@pytest.mark.parametrize(
    ("days", "words"),
    [
        *((29.5, "runs out in 29 days"), (1.5, "runs out in 1 day"), (0.5, "in less than a day")),
        *((-0.5, "has run out less than a day ago"), (-3.5, "has run out 3 days ago")),
    ],
)
def test_the_end_of_a_certificate_is_said_30_days_before(days: float, words: str) -> None:
    [found] = findings(end(days), end(30.5, "cs2"))
    assert (found.code, found.severity, found.subject) == ("CERT_EXPIRES", "warning", "cs1")
    assert words in found.message and "issue cs1 a new one" in found.advice


def test_what_ends_first_comes_first_and_an_authority_is_rotated() -> None:
    found = findings(end(9), CertificateEnd("authority 12ab", NOW_MS + 3 * DAY_MS))
    assert [one.subject for one in found] == ["", "cs1"]
    assert "tls rotate" in found[0].advice


def test_a_list_that_nobody_renews_is_said_too() -> None:
    assert findings(list_days=8) == []
    for days, words in ((6, "in 6 days"), (-2, "has run out 2 days ago"), (-99, "is not there")):
        [found] = findings(list_days=days)
        assert found.code == "CRL_EXPIRES" and words in found.message


def test_a_master_knows_its_own_and_asks_the_others(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    create(tmp_path / "ca", "prod", now)
    with opened(tmp_path / "ca") as authority:
        name = PeerName("prod", Role.MASTER, "m1")
        enrol(authority, name, ["m1"], tmp_path / "m1", now, days=20)
    runtime = ThreadedRuntime()
    held = Credentials(tmp_path / "m1", "prod", runtime)
    facts = MasterFacts("m2", "follower", *(1, "m1"), *(0,) * 13, version="x")
    answers: dict[str, MasterFacts | GfsError] = {
        "m1": msgspec.structs.replace(facts, name="m1", certificate_until_ms=1),
        "m2": msgspec.structs.replace(facts, certificate_until_ms=NOW_MS),
        "m3": msgspec.structs.replace(facts, name="m3"),  # Of an older release, or without TLS.
        "m4": Unreachable("away"),
    }
    watch = CertificateWatch(held, lambda: answers, runtime)

    def known() -> dict[str, int]:
        watch.look_around()
        assert watch.stop(PATIENCE_S)
        ends = watch.symptoms([("cs1", NOW_MS), ("cs2", 0)]).ends
        return {one.subject: one.until_ms for one in ends}

    found = known()
    assert set(found) == {"m1", "m2", "cs1", ""}
    assert found["m1"] == held.until_ms == watch.until_ms, "its own files know better"
    assert abs(found["m1"] / 1000 - (now + timedelta(days=20)).timestamp()) < 2
    answers["m2"] = Unreachable("away")
    assert known()["m2"] == NOW_MS, "it ends all the same"
    del answers["m2"]
    assert "m2" not in known()
    assert watch.symptoms([]).list_until_ms > 0
