"""What real masters answer to plans of a rebalance that are asked for at once."""

from __future__ import annotations

from peers import ScriptedServer
from trio import Client, wait_until

from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.jobs import JobOptions
from gfs_ha.protocol.rebalance import PlanRebalance, RebalancePlan


def test_who_asks_for_another_plan_waits_and_does_not_end_the_one_that_is_played(
    client: Client, servers: list[ScriptedServer]
) -> None:
    def heard() -> bool:
        return isinstance(client.ask(PlanRebalance(JobOptions(0.5))), RebalancePlan)

    wait_until(heard, "a leader that has heard all disks")
    asked = [PlanRebalance(JobOptions(share)) for share in (0.05, 0.05, 0.2)]
    first, same, other = client.send(*(client.asked(one) for one in asked))
    assert isinstance(first, RebalancePlan) and isinstance(same, RebalancePlan)
    assert isinstance(other, Failure) and other.error == "Busy", other
    answer = wait_until(
        lambda: plan if isinstance(plan := client.ask(asked[2]), RebalancePlan) else None,
        "its turn",
    )
    assert answer.threshold == 0.2
