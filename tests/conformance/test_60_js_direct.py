"""Direct gets: which wishes go together, and where a batch ends (jetstream.md 5.1, 5.2)."""

import json
from typing import Any

import pytest
from tests.support.jetstream import JsClient, Message

LATER, EARLIER = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


async def _five(js: JsClient) -> None:
    await js.stream(allow_direct=True)
    await js.fill("s.a", "s.b", "s.a", "s.c", "s.b")


async def _asked(js: JsClient, **wanted: Any) -> list[Message]:
    """All answers up to the one that is a status."""
    inbox = js.inbox()
    js.send("$JS.API.DIRECT.GET.S", json.dumps(wanted).encode(), reply=inbox.subject)
    answers = [await inbox.next()]
    while not answers[-1].status:
        answers.append(await inbox.next())
    return answers


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"seq": 1, "last_by_subj": "s.a"}, "408 Bad Request"),
        ({"seq": 1, "start_time": EARLIER}, "408 Bad Request"),
        ({"start_time": EARLIER, "last_by_subj": "s.a"}, "408 Bad Request"),
        ({"next_by_subj": "s.a", "last_by_subj": "s.a"}, "408 Bad Request"),
        ({"batch": 2, "last_by_subj": "s.a"}, "408 Bad Request"),
        ({"multi_last": ["s.a"], "last_by_subj": "s.a"}, "408 Bad Request"),
        ({"multi_last": ["s.a"], "next_by_subj": "s.a"}, "408 Bad Request"),
        ({"multi_last": ["s.a"], "up_to_seq": 3, "up_to_time": LATER}, "408 Bad Request"),
        ({"batch": 2}, "408 Empty Request"),
        ({"multi_last": []}, "408 Empty Request"),
        ({"seq": -1}, "408 Malformed Request"),
        ({"start_time": "bad"}, "408 Malformed Request"),
        ({"batch": 2, "seq": 9}, "404 Message Not Found"),
        ({"multi_last": ["x"]}, "404 No Results"),
        ({"multi_last": ["s.>"], "up_to_time": EARLIER}, "404 No Results"),
    ],
)
async def test_refused(js: JsClient, wanted: dict[str, Any], status: str) -> None:
    await _five(js)
    (answer,) = await _asked(js, **wanted)
    assert answer.status == status


@pytest.mark.parametrize(
    ("wanted", "seqs", "end"),
    [
        ({"seq": 2, "batch": 2}, [2, 3], (2, 3, None)),
        ({"next_by_subj": "s.b", "batch": 9}, [2, 5], (0, 5, None)),
        ({"start_time": EARLIER, "batch": 2}, [1, 2], (3, 2, None)),
        ({"seq": 1, "batch": 9, "max_bytes": 1}, [1], (4, 1, None)),
        ({"seq": 1, "batch": 9, "max_bytes": 5}, [1, 2], (3, 2, None)),
        ({"seq": 1, "batch": -1}, [], (5, 0, None)),
        ({"multi_last": ["s.>"]}, [3, 4, 5], (0, 5, 5)),
        ({"multi_last": ["s.>"], "seq": 4}, [4, 5], (0, 5, 5)),
        ({"multi_last": ["s.>"], "up_to_seq": 3}, [2, 3], (0, 3, 3)),
        ({"multi_last": ["s.>"], "up_to_time": LATER}, [3, 4, 5], (0, 5, 5)),
        ({"multi_last": ["s.>"], "start_time": LATER}, [3, 4, 5], (0, 5, 5)),
        ({"multi_last": ["s.>"], "no_hdr": True}, [3, 4, 5], (0, 5, 5)),
        ({"multi_last": ["s.>"], "batch": 2}, [3, 4], (1, 4, 5)),
        ({"multi_last": ["s.>"], "batch": 2, "max_bytes": 1}, [3], (2, 3, 5)),
    ],
)
async def test_batches(
    js: JsClient, wanted: dict[str, Any], seqs: list[int], end: tuple[int, int, int | None]
) -> None:
    await _five(js)
    *messages, last = await _asked(js, **wanted)
    assert [int(message.headers["Nats-Sequence"]) for message in messages] == seqs
    assert [int(message.headers["Nats-Last-Sequence"]) for message in messages] == [0, *seqs][: len(seqs)]
    assert last.status == "204 EOB"
    up_to = {"Nats-UpTo-Sequence": str(end[2])} if end[2] else {}
    assert last.headers == {"Nats-Num-Pending": str(end[0]), "Nats-Last-Sequence": str(end[1]), **up_to}


async def test_message_get(js: JsClient) -> None:
    await _five(js)
    assert (await js.good("STREAM.MSG.GET.S", {"seq": 1, "up_to_seq": 3}))["message"]["seq"] == 1
    refusal = await js.refused("STREAM.MSG.GET.S", {"start_time": "bad"})
    assert refusal[1] == 10025
    assert refusal[2].startswith('invalid JSON: parsing time "bad" as ')


@pytest.mark.parametrize("subject", ["$JS.API.DIRECT.GET.NONE", "$JS.API.DIRECT.GET.NONE.a.b"])
async def test_nobody_serves_it(js: JsClient, subject: str) -> None:
    assert (await js.request(subject)).status == "503"


async def test_who_watches_all_is_somebody(js: JsClient) -> None:
    """An observer counts as a listener, so that who asks is told nothing."""
    every, inbox = js.subscribe(">"), js.inbox()
    js.send("$JS.API.DIRECT.GET.NONE.a", b"", reply=inbox.subject)
    assert (await every.next()).subject == "$JS.API.DIRECT.GET.NONE.a"
    await inbox.silence()
