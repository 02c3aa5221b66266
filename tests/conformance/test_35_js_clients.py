"""What clients send that the reference's own samples do not: zero times, requests that are given up in time."""

from tests.support.jetstream import JsClient

ZERO = "0001-01-01T00:00:00Z"
MS = 1_000_000


async def test_a_pause_until_the_zero_time_is_none(js: JsClient) -> None:
    """Go's clients send the zero time, because it is never left out of their JSON."""
    await js.stream()
    info = await js.consumer(pause_until=ZERO)
    assert info["config"]["metadata"]["_nats.req.level"] == "0"
    assert not info.get("paused")


async def test_a_request_that_does_not_wait_ends_with_the_next_heartbeat(js: JsClient) -> None:
    """It had something, and what is unacknowledged keeps the rest from it: 404 where the heartbeat would have been."""
    await js.stream()
    await js.fill("s.a", "s.b", "s.c")
    await js.consumer(max_ack_pending=2)
    request = {"batch": 5, "no_wait": True, "expires": 2000 * MS, "idle_heartbeat": 100 * MS}
    inbox = await js.pull("C", "S", **request)
    assert [message.seq for message in await inbox.take(2)] == [1, 2]
    assert (await inbox.next()).status == "404 No Messages"
    await inbox.silence()
