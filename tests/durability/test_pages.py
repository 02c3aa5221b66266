"""A real server whose data.mdb is damaged under load: publishing goes on without a restart, and after one everything
acknowledged is there but for what the damaged pages held, which the log names."""

import asyncio
import re
from pathlib import Path
from urllib.request import Request, urlopen

import nats
import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from tests.durability.test_kills import phloem
from tests.support.sampling import few_of
from tests.unit.store.damage import break_leaf
from tests.unit.store.pages import last_commit, pages_of, spoil

LIMIT_S = 30.0


def health(port: int) -> str:
    request = Request(f"http://127.0.0.1:{port}/healthz?details=1")
    try:
        with urlopen(request, timeout=5) as answer:
            return str(answer.read())
    except OSError as error:
        return str(getattr(error, "read", lambda: b"")())


async def acknowledged(
    js: JetStreamContext, stream: str, kept: dict[str, dict[int, bytes]], count: int
) -> None:
    payloads = [b"%s %d " % (stream.encode(), number) + b"x" * 900 for number in range(count)]
    acks = await asyncio.gather(*(js.publish(f"{stream}.{n % 5}", data) for n, data in enumerate(payloads)))
    kept[stream] |= {ack.seq: data for ack, data in zip(acks, payloads, strict=True)}


async def missing(js: JetStreamContext, stream: str, kept: dict[int, bytes]) -> list[int]:
    """Sequences that are not there; the others are right."""
    gone, seqs = [], list(kept)
    for at in range(0, len(seqs), 100):
        part = seqs[at : at + 100]
        answers = await asyncio.gather(*(js.get_msg(stream, seq) for seq in part), return_exceptions=True)
        for seq, answer in zip(part, answers, strict=True):
            if isinstance(answer, APIError):
                gone.append(seq)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                assert answer.data == kept[seq]
    return gone


KEY = ', key: "only a test"'
CASES = [(kind, key) for kind in ("free", "blocks") for key in ("", KEY)]


@pytest.mark.parametrize(("kind", "key"), few_of(CASES, ("free", ""), ("blocks", KEY)))
async def test_a_server_goes_on(tmp_path: Path, kind: str, key: str) -> None:
    config = f'http: "127.0.0.1:-1"\njetstream {{ store_dir: "{tmp_path}/js"{key} }}'
    data = tmp_path / "js" / "jetstream" / "phloem" / "data.mdb"
    kept: dict[str, dict[int, bytes]] = {"ONE": {}, "TWO": {}}
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    with phloem(config, tmp_path / "one") as server:
        http = int(server.wait_for_log(r"Starting http monitor on \S*:(\d+)")[1])
        client = await nats.connect(f"nats://127.0.0.1:{server.port()}")
        js = client.jetstream()
        for name in kept:
            await js.add_stream(name=name, subjects=[f"{name}.>"])
        for _ in range(3):
            for name in kept:
                await acknowledged(js, name, kept, 100)
        end, damaged = asyncio.get_running_loop().time() + LIMIT_S, 0
        while "was made anew" not in server.log:
            assert asyncio.get_running_loop().time() < end, server.log
            commit = last_commit(data)
            if commit != damaged and "was damaged" not in server.log:
                if kind == "blocks":  # again: a move that was under way may have left those pages
                    break_leaf(data, 1)
                    damaged = commit
                elif pages_of(data)["free"]:
                    spoil(data, "free")
                    damaged = commit
            await acknowledged(js, "TWO", kept, 20)
        for _ in range(3):
            await acknowledged(js, "TWO", kept, 100)
        if kind == "free":
            await acknowledged(js, "ONE", kept, 100)
        assert await missing(js, "TWO", kept["TWO"]) == []
        gone = await missing(js, "ONE", kept["ONE"])
        told = await asyncio.to_thread(health, http)
        assert kind == "blocks" or not gone  # a block that a move was just replacing may cost nothing either
        assert ("read-only" in told) == bool(gone)
        assert ("unavailable" not in told and "error" not in told) == (not gone)
        await client.close()
    if gone:
        first, last = map(int, re.findall(r"of sequences (\d+) to (\d+)", server.log)[-1])
        assert first <= min(gone)
        assert max(gone) <= last
    with phloem(config, tmp_path / "two") as server:
        client = await nats.connect(f"nats://127.0.0.1:{server.port()}")
        js = client.jetstream()
        assert await missing(js, "TWO", kept["TWO"]) == []
        assert await missing(js, "ONE", kept["ONE"]) == gone
        await client.close()
    assert not list(data.parent.glob("mending"))
