"""What operators ask of the masters themselves: who they are, and to hand the leadership over."""

from __future__ import annotations

import re

from gfs_ha.errors import GfsError, InvalidArgument, PreconditionFailed
from gfs_ha.limits import RAFT_ADMISSION_LAG_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.verification import state_facts
from gfs_ha.master.quorum import reachable
from gfs_ha.master.raft.contract import LEADER, OUTSIDER, VOTER, Outcome, RaftStatus
from gfs_ha.master.raft.members import AddLearner, Addresses, AdmitMember, Change, RemoveMember
from gfs_ha.master.roles import removal_text, was_removed
from gfs_ha.master.state.view import View
from gfs_ha.master.verification import report_of
from gfs_ha.protocol.rates import CallFacts
from gfs_ha.protocol.reports import (
    AddMaster,
    AdmitMaster,
    GetMasters,
    LeadershipReport,
    MasterFacts,
    MasterReport,
    MasterRow,
    MemberPlace,
    MembersReport,
    RemoveMaster,
    TransferLeadership,
)
from gfs_ha.version import VERSION

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
REMOVED = "removed"
TERMS_SHOWN = 100
FAILOVERS_SHOWN = 10
_WEEK_NS = 7 * 24 * 3600 * 10**9


def master_facts(desk: Desk) -> MasterFacts:
    """Return what this master says of itself; needs no leader."""
    raft = desk.proposer.status()
    stats = desk.kv.stats()
    role = raft.role
    if raft.too_far_behind is not None:
        role = "outdated"
    elif role == LEADER and desk.reign is None:
        role = "candidate"  # Elected, but this door does not serve yet.
    elif raft.standing != VOTER:
        role = REMOVED if was_removed(raft) else raft.standing
    leader = next((master for master in desk.masters() if master.name == raft.leader), None)
    return MasterFacts(
        name=desk.name,
        role=role,
        term=raft.term,
        leader=raft.leader or "",
        leader_age_ms=desk.leader_age_ms(raft),
        commit_index=raft.commit,
        applied_index=raft.applied,
        last_index=raft.last,
        first_index=raft.first,
        log_bytes=raft.log_bytes,
        state_bytes=stats.used_bytes,
        map_bytes=stats.map_bytes,
        disk_free_bytes=desk.disk_room()[0],
        commit_p50_us=int(raft.commit_p50_ms * 1000),
        commit_p99_us=int(raft.commit_p99_ms * 1000),
        rss_bytes=desk.rss_bytes(),
        incarnation=desk.proposer.incarnation,
        version=VERSION,
        trouble=raft.too_far_behind or _trouble(desk.name, raft),
        state=state_facts(desk),
        leader_host="" if leader is None else leader.host,
        leader_port=0 if leader is None else leader.port,
        free_bytes=stats.free_bytes,
        readers=stats.readers,
        last_commit_us=int(raft.last_commit_ms * 1000),
        members=_places(desk, raft),
        calls=CallFacts(desk.calls.facts()),
        wall_ns=desk.runtime.wall_ns(),
        longest_gap_ms=raft.longest_gap_ms,
        certificate_until_ms=desk.certificates.until_ms if desk.certificates is not None else 0,
    )


def _places(desk: Desk, raft: RaftStatus) -> tuple[MemberPlace, ...]:
    voters = {member.member_id for member in raft.members if member.voter}
    return tuple(
        MemberPlace(one.name, one.host, one.port, one.raft_port, one.name in voters)
        for one in desk.masters()
    )


def _trouble(name: str, raft: RaftStatus) -> str:
    if raft.standing != OUTSIDER:
        return ""
    if was_removed(raft):
        return removal_text(name, [member.member_id for member in raft.members])
    return (
        f"{name} is no member of these masters: `gfsctl admin masters add {name}` lets it in; a new"
        " cluster is started with --bootstrap"
    )


def get_masters(desk: Desk, view: View, request: GetMasters, slot: Slot) -> MasterReport:
    """Return the members as the leader sees them, and every term that led, oldest first."""
    check = view.state_check()
    report = None if check is None else report_of(check)
    terms = reversed(view.led_terms(TERMS_SHOWN))
    return MasterReport(master_rows(desk), tuple(terms), report)


def week_failovers(desk: Desk, view: View) -> int:
    """Return how often the leader changed in the last seven days, as far as that is recorded."""
    recent = view.led_since(desk.runtime.wall_ns() - _WEEK_NS)
    return min(recent, max(0, view.led_term_count() - 1))  # The first term was no failover.


def master_rows(desk: Desk) -> tuple[MasterRow, ...]:
    """Return the members as this leader sees them."""
    raft = desk.proposer.status()
    peers = {peer.member_id: peer for peer in raft.peers}
    rows = []
    for address in desk.masters():
        peer = peers.get(address.name)
        if address.name == desk.name or peer is None:
            rows.append(
                MasterRow(
                    address.name,
                    address.host,
                    address.port,
                    reachable=address.name == desk.name,
                    facts=master_facts(desk) if address.name == desk.name else None,
                )
            )
            continue
        rows.append(
            MasterRow(
                address.name,
                address.host,
                address.port,
                reachable=reachable(peer.connected, peer.answer_age_ms),
                lag_entries=max(0, raft.last - peer.match),
                answer_age_ms=peer.answer_age_ms,
                voter=peer.voter,
                snapshot_bytes=peer.snapshot_bytes,
                ready=not peer.behind and raft.last - peer.match <= RAFT_ADMISSION_LAG_MAX,
                trouble=peer.refusal if peer.ended else "",
            )
        )
    return tuple(rows)


def add_master(desk: Desk, request: AddMaster, slot: Slot) -> None:
    """Let a new master receive the log; it does not vote yet."""
    for port in (request.port, request.raft_port):
        if not 0 < port < 1 << 16:
            raise InvalidArgument(f"{port} is no port")
    if not _NAME.fullmatch(request.name) or not _may_be_host(request.host):
        raise InvalidArgument(f"{request.name!r} at {request.host!r} is no master's name or host")
    raft, rpc = (request.host, request.raft_port), (request.host, request.port)
    _change(desk, AddLearner(request.name, Addresses(raft, rpc)), slot)


def _may_be_host(host: str) -> bool:
    """Return whether a host can have that name: members would ask for it for ever."""
    try:
        return 0 < len(host.encode("idna")) <= 255 and host.isprintable()
    except UnicodeError:
        return False


def admit_master(desk: Desk, request: AdmitMaster, slot: Slot) -> None:
    """Let a master vote that is caught up."""
    _change(desk, AdmitMember(request.name), slot)


def remove_master(desk: Desk, request: RemoveMaster, slot: Slot) -> None:
    """Take a master out for good."""
    _change(desk, RemoveMember(request.name), slot)


def _change(desk: Desk, change: Change, slot: Slot) -> None:
    desk.leading()

    def done(outcome: Outcome) -> None:
        if outcome.error is not None:
            slot.fail(desk.proposer.for_client(outcome.error))
            return
        members = desk.proposer.status().members
        slot.reply(
            MembersReport(
                tuple(member.member_id for member in members if member.voter),
                tuple(member.member_id for member in members if not member.voter),
            )
        )

    desk.proposer.change_members(change, done)


def transfer_leadership(desk: Desk, request: TransferLeadership, slot: Slot) -> None:
    """Hand the leadership over, and answer once somebody else leads.

    A request that is sent again, because its answer was lost with the old leader, finds that what
    it wanted has happened.
    """
    began_s = desk.now_s()
    reign = desk.leading()
    if reign.epoch.term != request.term and request.to in ("", desk.name):
        slot.reply(LeadershipReport(request.leader, desk.name, 0))
        return

    def done(error: GfsError | None, leader: str) -> None:
        if error is not None:
            slot.fail(desk.proposer.for_client(error))
        elif request.to not in ("", leader):
            slot.fail(PreconditionFailed(f"{leader} leads now, and not {request.to}"))
        else:
            took_ms = int((desk.now_s() - began_s) * 1000)
            slot.reply(LeadershipReport(desk.name, leader, took_ms))

    desk.proposer.transfer(request.to, done)
