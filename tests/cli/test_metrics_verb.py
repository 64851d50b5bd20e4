"""`gfsctl admin metrics`, asked of real masters over their doors."""

from __future__ import annotations

from gfsctl_program import Gfsctl, eventually
from prometheus_client.parser import text_string_to_metric_families


def names(text: str) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text)}


def test_the_leader_tells_what_it_measures_of_the_cluster_too(gfsctl: Gfsctl) -> None:
    text = gfsctl.ok("admin", "metrics").out.decode()
    assert {"gfs_master_leads", "gfs_cluster_files", "process_open_fds"} <= names(text)
    assert "gfs_master_leads 1.0" in text
    (item,) = gfsctl.ok("admin", "metrics", "-o", "json").json["items"]
    leader = gfsctl.ok("admin", "status", "-o", "json").json["items"][0]["leader"]
    assert item["node"] == leader and "gfs_cluster_files" in item["text"]


def test_another_master_tells_of_itself(gfsctl: Gfsctl) -> None:
    leader = gfsctl.ok("admin", "metrics", "-o", "json").json["items"][0]["node"]
    other = next(one for one in ("m1", "m2", "m3") if one != leader)
    # On a busy machine it may not answer in time.
    text = eventually(lambda: gfsctl.ok("admin", "metrics", other)).out.decode()
    assert f'name="{other}"' in text and "gfs_master_leads 0.0" in text
    assert not {name for name in names(text) if name.startswith("gfs_cluster_")}


def test_who_is_no_master_is_told_where_else_to_look(gfsctl: Gfsctl) -> None:
    said = gfsctl.refused(3, "admin", "metrics", "cs1")
    assert "there is no master 'cs1'" in said and "[metrics] listen" in said
