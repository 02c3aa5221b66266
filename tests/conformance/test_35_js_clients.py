"""What clients send that the reference's own samples do not: zero times."""

from tests.support.jetstream import JsClient

ZERO = "0001-01-01T00:00:00Z"


async def test_a_pause_until_the_zero_time_is_none(js: JsClient) -> None:
    """Go's clients send the zero time, because it is never left out of their JSON."""
    await js.stream()
    info = await js.consumer(pause_until=ZERO)
    assert info["config"]["metadata"]["_nats.req.level"] == "0"
    assert not info.get("paused")
