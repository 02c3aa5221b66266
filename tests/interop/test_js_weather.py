"""Mirrors and sources over a link that fails, in every pairing: nothing is lost, nothing comes twice, order is kept.

All ways of taking run at once, in both directions, under the same faults. A message counts once its origin has
acknowledged it. ``--cuts`` says how many faults there are; a seed says which, the same each time.
"""

import asyncio
import random

import pytest

from tests.interop.pairs import IN_EVERY_PAIRING, IN_PAIRING_OF_THE_EDGE, IN_PAIRINGS_WITH_OURS, Pair
from tests.interop.taking import Flow, arrived, end, flows_of, publish


async def _kill(pair: Pair, kills: int) -> None:
    """Hub and leaf in turn end without a word, in the middle of it, and come back with what they had stored.

    A stream of nats-server that takes from what was killed may stand still for ever (its origin's consumer counts from
    before, and what counts from before is ignored), or half a minute; so only ours has to show that it goes on.
    """
    ways = (pair.sides(True), pair.sides(False))
    flows = await flows_of(*(sides for sides in ways if sides[0].kind == "ours"))
    for number in range(kills):
        await publish(flows, 10)
        side, start = ((pair.hub, pair.start_hub), (pair.leaf, pair.start_leaf))[number % 2]
        await pair.kill(side)
        others = [flow for flow in flows if flow.there is not side]
        await publish(others, 10)
        await asyncio.to_thread(start)
        await publish(flows, 5)
        await arrived(flows)
    await end(flows)


@IN_PAIRING_OF_THE_EDGE
async def test_the_hub_is_killed(pair: Pair) -> None:
    await _kill(pair, 1)


@pytest.mark.soak
@pytest.mark.timeout(600)
@IN_PAIRINGS_WITH_OURS
async def test_ends_are_killed(pair: Pair, cuts: int) -> None:
    await _kill(pair, max(cuts, 4))


@IN_PAIRINGS_WITH_OURS
async def test_faults_of_the_link(pair: Pair, cuts: int) -> None:
    """The link is cut, or swallows everything before it is cut, while messages come."""
    flows = await flows_of(pair.sides(True), pair.sides(False))
    chance = random.Random(7)
    for number in range(cuts):
        at_once = asyncio.create_task(publish(flows, chance.randrange(5, 20)))
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if number % 2 == 0:
            pair.cable.stall()
            await publish(flows, chance.randrange(1, 8))
        pair.cable.cut()
        await at_once
        await publish(flows, chance.randrange(1, 8))
        pair.cable.restore()
        if chance.random() < 0.5:
            await publish(flows, 3)
        await arrived(flows)
    await end(flows)


@pytest.mark.soak
@pytest.mark.timeout(300)
@IN_EVERY_PAIRING
async def test_a_black_hole_longer_than_patience(pair: Pair) -> None:
    """Messages come all the time; the link swallows everything for so long that both ends give up on one another, and
    is cut then (edge.md 0: what lost a fifth of a work queue before 2.14)."""
    flows = await flows_of(pair.sides(True), pair.sides(False))

    async def steadily(seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await publish(flows, 1)
            await asyncio.sleep(0.02)

    await steadily(8)
    pair.cable.stall()
    await steadily(12)
    pair.cable.cut()
    await steadily(4)
    pair.cable.restore()
    await steadily(8)
    await arrived(flows)
    await end(flows)


@pytest.mark.soak
@pytest.mark.timeout(600)
@IN_PAIRINGS_WITH_OURS
async def test_ours_is_killed_while_nats_server_takes(pair: Pair) -> None:
    """It needs ten seconds to notice, and half a minute to ask again."""
    ours, start = (pair.hub, pair.start_hub) if pair.hub.kind == "ours" else (pair.leaf, pair.start_leaf)
    flows: list[Flow] = await flows_of(pair.sides(True), pair.sides(False))
    for _ in range(3):
        await publish(flows, 10)
        await pair.kill(ours)
        await publish([flow for flow in flows if flow.there is not ours], 10)
        await asyncio.to_thread(start)
        await publish(flows, 5)
        await arrived(flows)
    await end(flows)
