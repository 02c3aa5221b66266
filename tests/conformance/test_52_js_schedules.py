"""Messages that are published later, once or again and again (jetstream.md 2.11)."""

import base64
import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.jetstream import JsClient
from tests.support.rows import each

PAST = "@at 2020-01-01T00:00:00Z"
FUTURE = "@at 2090-01-01T00:00:00Z"


def _schedule(pattern: str = FUTURE, target: str = "s.t", **more: str) -> dict[str, str]:
    named = {f"Nats-Schedule-{name.replace('_', '-')}": value for name, value in more.items()}
    return {"Nats-Schedule": pattern, "Nats-Schedule-Target": target, **named}


@pytest.fixture
async def stream(js: JsClient) -> JsClient:
    await js.stream(allow_msg_schedules=True, allow_msg_ttl=True)
    return js


async def _message(js: JsClient, seq: int) -> tuple[str, bytes, bytes]:
    message = await js.stored(seq)
    assert message is not None
    data = base64.b64decode(message.get("data", ""))
    return message["subject"], base64.b64decode(message["hdrs"]), data


async def test_what_is_stored(stream: JsClient) -> None:
    await stream.publish("s.a", b"x", _schedule())
    assert await _message(stream, 1) == (
        "s.a",
        b"NATS/1.0\r\nNats-Schedule: @at 2090-01-01T00:00:00Z\r\nNats-Schedule-Target: s.t\r\n"
        b"Nats-Rollup: sub\r\n\r\n",
        b"x",
    )


async def test_fires_once_and_is_gone(stream: JsClient) -> None:
    headers = _schedule(PAST) | {"Nats-Msg-Id": "m", "X": "1"}
    await stream.publish("s.a", b"x", headers)
    await stream.until(stream.seqs, (1, 2, 2))
    assert await _message(stream, 2) == (
        "s.t",
        b"NATS/1.0\r\nX: 1\r\nNats-Scheduler: s.a\r\nNats-Schedule-Next: purge\r\n\r\n",
        b"x",
    )


async def test_one_for_a_subject(stream: JsClient) -> None:
    await stream.publish("s.a", b"1", _schedule())
    await stream.publish("s.a", b"2", _schedule())
    assert await stream.seqs() == (1, 2, 2)


async def test_repeats(stream: JsClient) -> None:
    before = datetime.now(UTC)
    await stream.publish("s.a", b"x", _schedule("@every 1s"))
    await stream.until(stream.seqs, (2, 1, 2))
    subject, head, body = await _message(stream, 2)
    assert (subject, body) == ("s.t", b"x")
    match = re.fullmatch(rb"NATS/1\.0\r\nNats-Scheduler: s\.a\r\nNats-Schedule-Next: (\S+)\r\n\r\n", head)
    assert match, head
    following = datetime.fromisoformat(match[1].decode())
    assert before + timedelta(seconds=1) < following < before + timedelta(seconds=4)


async def test_every_second_by_cron(stream: JsClient) -> None:
    await stream.publish("s.a", b"x", _schedule("* * * * * *"))
    await stream.until(stream.seqs, (2, 1, 2))


async def test_body_of_another_subject(stream: JsClient) -> None:
    await stream.publish("s.src", b"old")
    await stream.publish("s.src", b"new", {"Y": "2"})
    await stream.publish("s.a", b"own", _schedule(PAST, Source="s.src"))
    await stream.until(stream.seqs, (3, 1, 4))
    assert await _message(stream, 4) == (
        "s.t",
        b"NATS/1.0\r\nY: 2\r\nNats-Scheduler: s.a\r\nNats-Schedule-Next: purge\r\n\r\n",
        b"new",
    )


async def test_own_body_when_the_source_has_none(stream: JsClient) -> None:
    await stream.publish("s.a", b"own", _schedule(PAST, Source="s.src"))
    await stream.until(stream.seqs, (1, 2, 2))
    assert (await _message(stream, 2))[2] == b"own"


async def test_ttl_and_rollup_of_what_is_produced(stream: JsClient) -> None:
    await stream.publish("s.t", b"old")
    await stream.publish("s.a", b"x", _schedule(PAST, TTL="1h", Rollup="sub"))
    await stream.until(stream.seqs, (1, 3, 3))
    assert (await _message(stream, 3))[1] == (
        b"NATS/1.0\r\nNats-Scheduler: s.a\r\nNats-Schedule-Next: purge\r\nNats-TTL: 1h\r\nNats-Rollup: sub\r\n\r\n"
    )


async def test_taken_back(stream: JsClient) -> None:
    await stream.publish("s.a", b"x", _schedule())
    ack = await stream.publish("s.b", b"", {"Nats-Schedule-Next": "purge", "Nats-Scheduler": "s.a"})
    assert ack == {"stream": "S", "seq": 2}
    await stream.until(stream.seqs, (1, 2, 2))


@each(
    ("headers", "code"),
    [
        (_schedule("@at yesterday"), 10189),
        (_schedule("@every 1ms"), 10189),
        (_schedule("@every x"), 10189),
        (_schedule("@often"), 10189),
        (_schedule("* * * * *"), 10189),
        (_schedule("60 * * * * *"), 10189),
        (_schedule("* * * 30 feb *"), 10189),
        (_schedule("*/0 * * * * *"), 10189),
        (_schedule("5-1 * * * * *"), 10189),
        (_schedule(Time_Zone="Europe/Berlin"), 10189),
        (_schedule("@every 5s", Time_Zone="Europe/Berlin"), 10189),
        (_schedule("@daily", Time_Zone="Middle/Earth"), 10223),
        (_schedule("@daily", Time_Zone=""), 10223),
        (_schedule("@daily", target=""), 10190),
        (_schedule(target="s.a"), 10190),
        (_schedule(target="s.*"), 10190),
        (_schedule(target="other"), 10190),
        (_schedule(Source="s.t"), 10203),
        (_schedule(Source="s.a"), 10203),
        (_schedule(Source="other"), 10203),
        (_schedule(TTL="x"), 10191),
        (_schedule(Rollup="all"), 10192),
        (_schedule() | {"Nats-Rollup": "all"}, 10192),
        ({"Nats-Schedule-Next": "purge"}, 10212),
        ({"Nats-Scheduler": "s.b"}, 10212),
        ({"Nats-Schedule-Next": "2090-01-01T00:00:00Z", "Nats-Scheduler": "s.b"}, 10212),
        ({"Nats-Schedule-Next": "purge", "Nats-Scheduler": "s.a"}, 10212),
    ],
)
async def test_refused(stream: JsClient, headers: dict[str, str], code: int) -> None:
    ack = await stream.publish("s.a", b"x", headers)
    assert ack.get("error", {}).get("err_code") == code, ack


@pytest.mark.parametrize(
    "headers",
    [
        _schedule("@yearly"),
        _schedule("@annually"),
        _schedule("@monthly"),
        _schedule("@weekly"),
        _schedule("@midnight"),
        _schedule("@hourly"),
        _schedule("@daily", Time_Zone="Europe/Berlin"),
        _schedule("0 30 2 ? jan-mar,DEC mon-fri", Time_Zone="America/New_York"),
        _schedule("0/15 0 */6 1,15 * *"),
        _schedule("@every 1h30m"),
    ],
)
async def test_accepted(stream: JsClient, headers: dict[str, str]) -> None:
    assert await stream.publish("s.a", b"x", headers) == {"stream": "S", "seq": 1}


async def test_purge_needs_a_schedule(stream: JsClient) -> None:
    await stream.publish("s.b", b"x")
    ack = await stream.publish("s.a", b"x", {"Nats-Schedule-Next": "purge", "Nats-Scheduler": "s.b"})
    assert ack["error"]["err_code"] == 10212


async def test_switched_off(js: JsClient) -> None:
    await js.stream()
    assert (await js.publish("s.a", b"x", _schedule()))["error"]["err_code"] == 10188


async def test_ttl_needs_the_streams(js: JsClient) -> None:
    await js.stream(allow_msg_schedules=True)
    assert (await js.publish("s.a", b"x", _schedule(TTL="5s")))["error"]["err_code"] == 10166
