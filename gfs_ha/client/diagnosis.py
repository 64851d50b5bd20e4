"""What a client's look at a cluster means: each fact judged, with what to do next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from gfs_ha.client.doctor import MasterSeen, Seen, ServerSeen
from gfs_ha.errors import ProtocolError, WrongCluster

OK, WARN, FAIL = "ok", "warn", "fail"

CLOCK_WARN_NS = 1_000_000_000
SLOW_NS = 100_000_000  # An answer over one network takes a hundredth of it.
_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: how it is, the fact, and the next step unless all is well."""

    name: str
    state: str
    fact: str
    next_step: str = ""


def diagnose(seen: Seen, version: str) -> list[Check]:
    """Return what is to be said of a look. Args: `version` is this client's."""
    checks = [_names(seen.masters), _masters(seen.masters)]
    if any(one.facts is not None or _refused(one) for one in seen.masters):
        checks.append(_agreement(seen.masters))
    checks += [_leader(seen), *_members(seen), _servers(seen)]
    if any(one.facts is not None for one in seen.masters):
        checks += [_versions(seen.masters, version), _clocks(seen.masters)]
    return checks


def _refused(one: MasterSeen) -> bool:
    """Return whether a master answered that it is none of ours."""
    return isinstance(one.error, WrongCluster | ProtocolError)


def _grouped(reasons: Iterable[tuple[str, str]]) -> str:
    """Return "m1, m2: why; m3: why" for pairs of name and reason."""
    names: dict[str, list[str]] = {}
    for name, why in reasons:
        names.setdefault(why, []).append(name)
    parts = []
    for why, some in names.items():
        more = f" and {len(some) - _NAMED_MAX} more" if len(some) > _NAMED_MAX else ""
        parts.append(f"{', '.join(some[:_NAMED_MAX])}{more}: {why}")
    return "; ".join(parts)


def _names(masters: Sequence[MasterSeen]) -> Check:
    lost = [one for one in masters if not one.addresses]
    if not lost:
        known = ", ".join(
            f"{one.master.name} {one.master.host}"
            + ("" if one.addresses[0] == one.master.host else f" = {one.addresses[0]}")
            for one in masters
        )
        return Check("names", OK, f"all resolve: {known}")
    hosts = {one.master.host: _why(one) for one in lost}
    why = _grouped(hosts.items())
    return Check(
        *("names", FAIL if len(lost) == len(masters) else WARN, why),
        "mend [cluster] masters in the configuration, or DNS and /etc/hosts of this machine",
    )


def _masters(masters: Sequence[MasterSeen]) -> Check:
    there = [one for one in masters if one.facts is not None]
    times = ", ".join(f"{one.master.name} {_ms(one.answer_ns)}" for one in there)
    count = f"{len(there)} of {len(masters)} answer"
    if len(there) == len(masters):
        slow = [one.master.name for one in there if one.answer_ns > SLOW_NS]
        if slow:
            step = f"look at the network to {', '.join(slow)}, and at the load of these machines"
            return Check("masters", WARN, f"{count}, some slowly: {times}", step)
        return Check("masters", OK, f"{count}: {times}")
    silent = [one for one in masters if one.facts is None]
    why = _grouped(
        (f"{one.master.name} {_place(one)}", "refuses this client" if _refused(one) else _why(one))
        for one in silent
    )
    state = WARN if len(there) * 2 > len(masters) else FAIL
    fact = f"{count}{f' ({times})' if times else ''}; {why}"
    return Check("masters", state, fact, _step_for(silent))


def _step_for(silent: Sequence[MasterSeen]) -> str:
    if all(_refused(one) for one in silent):
        return "see cluster"
    if all(not one.addresses for one in silent):
        return "see names"
    if all(one.connect_ns >= 0 for one in silent):
        return (
            "look at their logs: paused, overloaded, or another program has the port; of a closed"
            " cluster at [security] in the configuration, and at gfsctl admin tls status"
        )
    return "start them, or open their ports in the firewalls between"


def _place(one: MasterSeen) -> str:
    return f"({one.master.host}:{one.master.port})"


def _why(one: MasterSeen) -> str:
    """Return why a master is of no use, without saying its name and address once more."""
    text = one.error.message if one.error is not None else "it does not answer"
    for known in (
        f"master {one.master.name}: ",
        f"master {one.master.name} ",
        f"{one.master.host}:{one.master.port} ",
    ):
        text = text.removeprefix(known)
    if one.connect_ns >= 0 and not _refused(one):
        return f"the port is open, but {text}"
    return text


def _agreement(masters: Sequence[MasterSeen]) -> Check:
    refused = [one for one in masters if _refused(one)]
    if refused:
        what = _grouped((one.master.name, _why(one)) for one in refused)
        step = "use the configuration file of that cluster, and a client of the same release"
        return Check("cluster", FAIL, what, step)
    told = {one.facts.incarnation for one in masters if one.facts is not None}
    if len(told) > 1:
        fact = f"the masters are of incarnations {', '.join(map(str, sorted(told)))}"
        return Check("cluster", FAIL, fact, "stop the masters of the older one for good")
    return Check("cluster", OK, "id and protocol agree with all that answer")


def _leader(seen: Seen) -> Check:
    leader = seen.leader
    if leader is not None and leader.facts is not None:
        since = _span(leader.facts.leader_age_ms)
        return Check(
            "leader", OK, f"{leader.master.name}, in term {leader.facts.term}, for {since}"
        )
    there = [one for one in seen.masters if one.facts is not None]
    if not there:
        return Check("leader", FAIL, "no master can be asked", "see masters")
    told = sorted({one.facts.leader for one in there if one.facts and one.facts.leader})
    troubles = [one.facts.trouble for one in there if one.facts and one.facts.trouble]
    if told:
        fact = f"{', '.join(told)} leads, by the word of others, and does not answer here"
        return Check("leader", FAIL, fact, "bring it back, or let the others elect: a few seconds")
    fact = "; ".join(["nobody leads", *troubles])
    return Check(
        "leader", FAIL, fact, "more than half of the masters must run and reach each other"
    )


def _members(seen: Seen) -> Iterator[Check]:
    """Compare the configuration with who the masters say that they are."""
    source = seen.leader or next((one for one in seen.masters if one.facts is not None), None)
    if source is None or source.facts is None or not source.facts.members:
        return
    members = {one.name: (one.host, one.port) for one in source.facts.members}
    ours = {one.master.name: (one.master.host, one.master.port) for one in seen.masters}
    wrong = [f"{name} is none" for name in sorted(ours.keys() - members.keys())]
    wrong += [f"{name} is missing here" for name in sorted(members.keys() - ours.keys())]
    wrong += [
        f"{name} is at {host}:{port}"
        for name, (host, port) in sorted(members.items())
        if name in ours and ours[name][1] != port
    ]
    if wrong:
        fact = f"the masters are {', '.join(sorted(members))}, but {'; '.join(wrong)}"
        yield Check(
            "members", WARN, fact, "bring [cluster] masters of the configuration up to date"
        )
    else:
        yield Check("members", OK, "the configuration names the masters that there are")


def _servers(seen: Seen) -> Check:
    if seen.servers is None:
        return Check("chunkservers", WARN, f"not looked at: {seen.why_no_servers}", "see leader")
    if not seen.servers:
        step = "start some: gfs-chunkserver --config FILE"
        return Check("chunkservers", FAIL, "the cluster has none", step)
    there = [one for one in seen.servers if one.answer_ns >= 0]
    count = f"{len(there)} of {len(seen.servers)} answer"
    times = [one.answer_ns for one in there]
    told = f"{count}, in {_ms(int(median(times)))} (at most {_ms(max(times))})" if times else count
    silent = [one for one in seen.servers if one.answer_ns < 0]
    if not silent:
        return Check("chunkservers", OK, told)
    lost = _grouped((f"{one.row.name} ({_address(one)})", _why_server(one)) for one in silent)
    reach = [one for one in silent if one.row.state == "live"]
    step = (
        "the masters hear them: open their data ports to this machine"
        if reach
        else "bring them back (gfsctl admin chunkservers ls); until then others serve"
    )
    return Check("chunkservers", WARN if there else FAIL, f"{told}; {lost}", step)


def _address(one: ServerSeen) -> str:
    return f"{one.row.host}:{one.row.port}"


def _why_server(one: ServerSeen) -> str:
    text = one.error.message.removeprefix(f"{_address(one)} ") if one.error else "no answer"
    return text if one.row.state == "live" else f"{text} (the masters: {one.row.state})"


def _versions(masters: Sequence[MasterSeen], version: str) -> Check:
    told = {one.master.name: one.facts.version for one in masters if one.facts is not None}
    if set(told.values()) == {version}:
        return Check("versions", OK, f"client and masters are {version}")
    others = ", ".join(f"{name} {one}" for name, one in sorted(told.items()))
    step = "finish the upgrade: masters first, then chunkservers, clients last"
    return Check("versions", WARN, f"this client is {version}; {others}", step)


def _clocks(masters: Sequence[MasterSeen]) -> Check:
    told: list[str] = []
    wrong: list[str] = []
    for one in masters:
        if one.offset_ns is None:
            continue
        told.append(f"{one.master.name} {_signed(one.offset_ns)} ± {_ms(one.error_ns)}")
        if abs(one.offset_ns) - one.error_ns > CLOCK_WARN_NS:
            wrong.append(one.master.name)
    if not told:
        return Check("clocks", WARN, "no master told its time")
    fact = f"against this machine: {', '.join(told)}"
    if not wrong:
        return Check("clocks", OK, fact)
    step = (
        "set this machine's clock (NTP): all masters differ from it alike"
        if len(wrong) == len(told)
        else f"set the clock of {', '.join(wrong)} (NTP)"
    )
    return Check("clocks", WARN, fact, f"{step}; times of files come out wrong, nothing is lost")


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms"


def _signed(nanoseconds: int) -> str:
    if abs(nanoseconds) < CLOCK_WARN_NS:
        return f"{round(nanoseconds / 1e6, 1) or 0.0:+.1f} ms"
    return f"{nanoseconds / 1e9:+.1f} s"


def _span(milliseconds: int) -> str:
    seconds = milliseconds // 1000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
