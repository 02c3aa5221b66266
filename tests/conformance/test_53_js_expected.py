"""Creating and updating a key: the expected last sequence of a subject, which phloem looks at in two places."""

import pytest
from tests.support.jetstream import JsClient

NAME = "Nats-Expected-Last-Subject-Sequence"


@pytest.mark.parametrize(
    ("lines", "err_code"),
    [
        (f"{NAME}: 2\r\n", 0),
        (f"{NAME}:2\r\n", 0),
        (f"{NAME}:   2\r\n", 0),
        (f"{NAME}: 002\r\n", 0),
        (f"A: 1\r\n{NAME}: 2\r\nB: 2\r\n", 0),
        (f"{NAME}: 2\r\n{NAME}: 1\r\n", 0),
        (f"{NAME}: 1\r\n{NAME}: 2\r\n", 10071),
        (f"{NAME}: 1\r\n", 10071),
        (f"{NAME}: 0\r\n", 10071),
        (f"{NAME}: two\r\n", 10071),
        (f"{NAME}: 99999999999999999999999\r\n", 10071),
        (f"{NAME}: 2\r\nNats-Expected-Stream: T\r\n", 10060),
        (f"{NAME}: 2\r\nNats-Expected-Last-Sequence: 1\r\n", 10071),
        (f"{NAME.lower()}: 1\r\n", 0),
        (f"X{NAME}: 1\r\n", 0),
    ],
)
async def test_expected_last_sequence_of_a_subject(js: JsClient, lines: str, err_code: int) -> None:
    await js.stream()
    await js.fill("s.a", "s.a", "s.b")
    ack = await js.publish("s.a", b"x", f"NATS/1.0\r\n{lines}\r\n".encode())
    assert ack.get("error", {}).get("err_code", 0) == err_code, ack
    assert await js.seqs() == ((3, 1, 3) if err_code else (4, 1, 4))


async def test_keys_of_a_full_bucket(js: JsClient) -> None:
    await js.stream(max_msgs=2, max_msgs_per_subject=1, discard="new", allow_rollup_hdrs=True)
    assert await js.publish("s.a", b"1", {NAME: "0"}) == {"stream": "S", "seq": 1}
    assert await js.publish("s.b", b"1", {NAME: "0"}) == {"stream": "S", "seq": 2}
    assert (await js.publish("s.c", b"1", {NAME: "0"}))["error"]["err_code"] == 10077
    assert await js.publish("s.a", b"2", {NAME: "1"}) == {"stream": "S", "seq": 3}
    assert (await js.publish("s.a", b"3", {NAME: "1"}))["error"]["description"] == "wrong last sequence: 3"


async def test_many_keys_in_a_row(js: JsClient) -> None:
    await js.stream(max_msgs_per_subject=1)
    inbox = js.inbox()
    for number in range(100):
        js.send("s.a", b"x", {NAME: str(number)}, inbox.subject)
        js.send(f"s.{number}", b"x", {NAME: "7"}, inbox.subject)
    answers = [(await inbox.json()) for _ in range(200)]
    assert [answer["seq"] for answer in answers if "error" not in answer] == list(range(1, 101))
