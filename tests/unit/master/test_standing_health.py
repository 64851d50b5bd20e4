"""What health says of servers that go out of service, pause, or are out."""

from __future__ import annotations

from dataclasses import replace as changed

from msgspec.structs import replace
from test_health import WELL

from gfs_ha.master.health import examine
from gfs_ha.master.standing_health import BlockedJob, standing_findings
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import DECOMMISSIONED, DRAINING

SERVER = WELL.servers[0]
MIN_MS = 60_000


def found(*servers: ServerRow, blocked: tuple[BlockedJob, ...] = ()) -> dict[str, str]:
    return {one.code: one.severity for one in standing_findings(servers, blocked)}


def test_servers_in_service_are_nothing_to_tell_of() -> None:
    assert found(*WELL.servers) == {}
    assert found(replace(SERVER, mode=DRAINING, job="d-7", job_share=0.4)) == {}


def test_maintenance_is_told_and_is_an_error_only_when_it_ends_while_the_server_is_away() -> None:
    pausing = replace(SERVER, maintenance_left_ms=30 * MIN_MS)
    assert found(pausing) == {"SERVER_MAINTENANCE": "warning"}
    assert found(replace(pausing, state="dead")) == {"SERVER_MAINTENANCE": "warning"}
    late = replace(pausing, state="dead", maintenance_left_ms=2 * MIN_MS)
    assert found(late) == {"MAINTENANCE_ENDS": "error"}
    assert found(replace(late, state="live")) == {"SERVER_MAINTENANCE": "warning"}


def test_a_dead_server_in_maintenance_does_not_make_a_cluster_unhealthy() -> None:
    dead = replace(SERVER, state="dead", maintenance_left_ms=30 * MIN_MS)
    report = examine(changed(WELL, servers=(dead, *WELL.servers[1:], replace(SERVER, name="x"))))
    assert report.healthy
    assert {"SERVER_DEAD", "SERVER_MAINTENANCE"} <= {one.code for one in report.items}
    (told,) = (one.advice for one in report.items if one.code == "SERVER_DEAD")
    what = f"start {dead.name} or mend its network before that ends"
    assert told == f"it is in maintenance: {what}"  # Nothing was made anew: they count until then.
    (facts,) = (dict(one.facts) for one in report.items if one.code == "SERVER_DEAD")
    assert facts["stands"] == "in-service, in maintenance for 30 m 0 s more"


def test_a_blocked_job_names_why_and_the_ways_out() -> None:
    job = BlockedJob("d-7", "cs3", 49, "wants 3 copies", ("add a server", "setrep 2 /a"))
    (finding,) = standing_findings((), (job,))
    assert (finding.code, finding.severity) == ("DRAIN_BLOCKED", "warning")
    assert "49 chunks off cs3: wants 3 copies" in finding.message
    assert finding.advice == "add a server; or setrep 2 /a (gfsctl admin jobs show d-7)"


def test_a_decommissioned_server_is_named_until_it_is_removed() -> None:
    assert found(replace(SERVER, mode=DECOMMISSIONED)) == {"SERVER_DECOMMISSIONED": "warning"}


def test_a_decommissioned_server_that_stopped_is_not_to_be_stopped_nor_started() -> None:
    out = replace(SERVER, mode=DECOMMISSIONED)
    remove = f"gfsctl admin chunkservers remove {out.name}; or "
    (live,) = standing_findings((out,), ())
    assert live.advice.startswith(f"stop it, and {remove}")
    dead = replace(out, state="dead")
    report = examine(changed(WELL, servers=(dead, *WELL.servers[1:], replace(SERVER, name="x"))))
    told = {one.code: one.advice for one in report.items}
    assert report.healthy and set(told) == {"SERVER_DEAD", "SERVER_DECOMMISSIONED"}
    assert told["SERVER_DECOMMISSIONED"].startswith(remove)
    assert told["SERVER_DEAD"].startswith(f"nothing lies there: {remove}")


def test_servers_that_take_nothing_new_do_not_count_for_writing() -> None:
    leaving = tuple(replace(one, mode=DRAINING) for one in WELL.servers)
    report = examine(changed(WELL, servers=leaving))
    assert "TOO_FEW_SERVERS" in {one.code for one in report.items if one.severity == "error"}
