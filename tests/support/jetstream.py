"""JetStream as a test sees it: an account of its own, API requests as JSON, messages with exact bytes.

Rules. Nothing sleeps: what takes time in the server is awaited by the message or the API answer that shows it.
An API answer is checked for its ``type`` before a test sees it, so that no test has to. JetStream's own work
is not done on the connection that asked; a PONG proves nothing about it, and silence is therefore proven behind
an API answer (:meth:`JsClient.silence`).
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import TIMEOUT_S, RawClient

WORLDS = 1200
WORLDS_CONFIG = (
    'server_name: JS\njetstream { store_dir: "@FOLDER@/js" }\naccounts {\n'
    + "".join(
        f"  J{n} {{ jetstream: enabled, users: [ {{ user: j{n}, password: p }} ] }}\n" for n in range(WORLDS)
    )
    + "  NONE { users: [ { user: none, password: p } ] }\n}\n"
)
ASK_AGAIN_S = 0.005  # else asking takes the time of whoever has to make it true
TYPE = "io.nats.jetstream.api.v1."
_LINE = re.compile(rb"(?:H?MSG [^\r]*|PONG)\r\n")

Json = dict[str, Any]


class Message(NamedTuple):
    """A message as it arrived; ``head`` is the header block, empty if there is none."""

    subject: str
    reply: str
    head: bytes
    payload: bytes

    @property
    def status(self) -> str:
        """What follows ``NATS/1.0`` in the first header line: code and text."""
        return self.head.split(b"\r\n", 1)[0].decode().removeprefix("NATS/1.0").strip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name; of a repeated one the last."""
        pairs = (line.split(": ", 1) for line in self.head.decode().split("\r\n")[1:] if line)
        return {name: value for name, value in pairs}

    @property
    def json(self) -> Json:
        return dict(json.loads(self.payload))

    @property
    def ack(self) -> tuple[int, int, int, int]:
        """From the ack subject: deliveries, stream sequence, consumer sequence, pending."""
        tokens = self.reply.split(".")
        assert tokens[:2] == ["$JS", "ACK"], self
        assert len(tokens) == 9, self
        return int(tokens[4]), int(tokens[5]), int(tokens[6]), int(tokens[8])

    @property
    def seq(self) -> int:
        """The stream sequence in the ack subject."""
        return self.ack[1]


class Subscription:
    """Messages of one SUB, in order."""

    def __init__(self, client: "JsClient", subject: str, sid: int) -> None:
        self._client, self.subject, self.sid = client, subject, sid
        self.queue: deque[Message] = deque()

    async def next(self) -> Message:
        """The next message."""
        while not self.queue:
            await self._client.read()
        return self.queue.popleft()

    async def take(self, count: int) -> list[Message]:
        """The next ``count`` messages."""
        return [await self.next() for _ in range(count)]

    async def json(self) -> Json:
        return (await self.next()).json

    async def silence(self) -> None:
        """Nothing is waiting, and nothing comes before JetStream has answered one request more."""
        await self._client.sync()
        assert not self.queue, list(self.queue)

    def unsubscribe(self) -> None:
        self._client.raw.send(f"UNSUB {self.sid}\r\n")


def head_of(headers: Mapping[str, str] | None) -> bytes:
    """A header block; empty for no headers."""
    if not headers:
        return b""
    return ("NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode()


def error_of(answer: Json) -> tuple[int, int, str]:
    """Code, err_code and text of a refusal, which has these three keys and no other."""
    error = answer["error"]
    assert set(error) == {"code", "err_code", "description"}, answer
    return error["code"], error["err_code"], error["description"]


class JsClient:
    """A connection that speaks to JetStream."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self._subscriptions: dict[int, Subscription] = {}
        self._pongs = 0
        self._inboxes = 0
        self._requests = 0
        self.answers = self.subscribe("_R.*")

    # -- the wire

    async def read(self) -> None:
        """Read one message or PONG."""
        line = (await self.raw.expect(_LINE)).decode().rstrip("\r\n").split(" ")
        if line[0] == "PONG":
            self._pongs += 1
            return
        sizes = line[-2:] if line[0] == "HMSG" else ["0", line[-1]]
        head, total = map(int, sizes)
        middle = line[3 : -2 if line[0] == "HMSG" else -1]
        body = (await self.raw.expect(re.compile(rb"(?s:.{%d})\r\n" % total)))[:-2]
        message = Message(line[1], middle[0] if middle else "", body[:head], body[head:])
        self._subscriptions[int(line[2])].queue.append(message)

    async def ping(self) -> None:
        """The connection has handled what was sent before."""
        before = self._pongs
        self.raw.send(b"PING\r\n")
        while self._pongs == before:
            await self.read()

    async def sync(self) -> None:
        """JetStream has answered a request sent after all that was sent before."""
        await self.api("INFO")
        await self.ping()

    def subscribe(self, subject: str, queue: str = "") -> Subscription:
        """A SUB; the server has it when the next answer comes."""
        sid = len(self._subscriptions) + 1
        self._subscriptions[sid] = Subscription(self, subject, sid)
        self.raw.send(f"SUB {subject} {queue} {sid}\r\n")
        return self._subscriptions[sid]

    def inbox(self) -> Subscription:
        """A subscription to a subject of its own."""
        self._inboxes += 1
        return self.subscribe(f"_I.{self._inboxes}")

    def send(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | bytes | None = None,
        reply: str = "",
    ) -> None:
        """PUB or HPUB; ``headers`` may be a block of raw bytes."""
        head = headers if isinstance(headers, bytes) else head_of(headers)
        if head:
            line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n"
        else:
            line = f"PUB {subject} {reply} {len(payload)}\r\n"
        self.raw.send(line.encode() + head + payload + b"\r\n")

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | bytes | None = None
    ) -> Message:
        """The first answer to a request."""
        self._requests += 1
        reply = f"_R.{self._requests}"
        self.send(subject, payload, headers, reply)
        while True:
            message = await self.answers.next()
            if message.subject == reply:
                return message

    # -- JetStream

    async def api(self, what: str, body: object = None, headers: Mapping[str, str] | None = None) -> Json:
        """The answer to ``$JS.API.<what>``; ``body`` is bytes, or something for JSON."""
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = (await self.request(f"$JS.API.{what}", payload, headers)).json
        assert next(iter(answer)) == "type", answer
        assert answer["type"].startswith(TYPE), answer
        return answer

    async def good(self, what: str, body: object = None) -> Json:
        """The answer, which is no refusal."""
        answer = await self.api(what, body)
        assert "error" not in answer, answer
        return answer

    async def refused(
        self, what: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, int, str]:
        """Code, err_code and text of the refusal."""
        answer = await self.api(what, body, headers)
        assert "error" in answer, answer
        return error_of(answer)

    async def stream(self, name: str = "S", **config: object) -> Json:
        """A new stream; its subjects are ``<name in small letters>.>`` unless said otherwise."""
        if "mirror" not in config and "sources" not in config:
            config.setdefault("subjects", [f"{name.lower()}.>"])
        return await self.good(f"STREAM.CREATE.{name}", {"name": name, **config})

    async def update(self, name: str = "S", **config: object) -> Json:
        return await self.good(f"STREAM.UPDATE.{name}", {"name": name, **config})

    async def consumer(self, name: str = "C", stream: str = "S", **config: object) -> Json:
        """A durable consumer with explicit acks, unless said otherwise."""
        config = {"durable_name": name, "ack_policy": "explicit", **config}
        config = {key: value for key, value in config.items() if value is not None}
        return await self.good(
            f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config, "action": "create"}
        )

    async def publish(
        self, subject: str, payload: bytes = b"x", headers: Mapping[str, str] | bytes | None = None
    ) -> Json:
        """The PubAck."""
        return (await self.request(subject, payload, headers)).json

    async def fill(self, *subjects: str, headers: Mapping[str, str] | None = None) -> None:
        """Store one message each; the payload says which of them it is, from ``1``."""
        for number, subject in enumerate(subjects, 1):
            ack = await self.publish(subject, b"%d" % number, headers)
            assert "error" not in ack, ack

    async def state(self, stream: str = "S", **request: object) -> Json:
        """The stream's state without times."""
        state = (await self.good(f"STREAM.INFO.{stream}", request or None))["state"]
        return {key: value for key, value in state.items() if key not in ("first_ts", "last_ts")}

    async def seqs(self, stream: str = "S") -> tuple[int, int, int]:
        """Messages, first and last sequence."""
        state = await self.state(stream)
        return state["messages"], state["first_seq"], state["last_seq"]

    async def seqs_or_none(self, stream: str = "S") -> tuple[int, int, int] | None:
        """The same, or None if there is no such stream."""
        answer = await self.api(f"STREAM.INFO.{stream}")
        state = answer.get("state")
        return (state["messages"], state["first_seq"], state["last_seq"]) if state else None

    async def stored(self, seq: int, stream: str = "S") -> Json | None:
        """A stored message as MSG.GET gives it, without its time; None if there is none."""
        answer = await self.api(f"STREAM.MSG.GET.{stream}", {"seq": seq})
        if "error" in answer:
            assert error_of(answer) == (404, 10037, "no message found")
            return None
        return {key: value for key, value in answer["message"].items() if key != "time"}

    async def pull(self, consumer: str = "C", stream: str = "S", /, **request: object) -> Subscription:
        """A pull request; its answers."""
        inbox = self.inbox()
        body = json.dumps(request).encode() if request else b""
        self.send(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", body, reply=inbox.subject)
        return inbox

    async def fetch(self, count: int, consumer: str = "C", stream: str = "S") -> list[Message]:
        """Exactly ``count`` messages from a pull consumer that has as many."""
        inbox = await self.pull(consumer, stream, batch=count)
        messages = await inbox.take(count)
        assert all(message.reply for message in messages), messages
        return messages

    async def ack(self, message: Message, payload: bytes = b"+ACK") -> None:
        """Acknowledge and wait until that is done."""
        answer = await self.request(message.reply, payload)
        assert (answer.head, answer.payload) == (b"", b"")

    async def numbers(self, consumer: str = "C", stream: str = "S") -> Json:
        """The numbers of a consumer: pairs are (consumer sequence, stream sequence)."""
        info = await self.good(f"CONSUMER.INFO.{stream}.{consumer}")
        pairs = {k: (info[k]["consumer_seq"], info[k]["stream_seq"]) for k in ("delivered", "ack_floor")}
        names = ("num_ack_pending", "num_redelivered", "num_waiting", "num_pending")
        return {**pairs, **{name.removeprefix("num_"): info[name] for name in names}}

    async def until(self, ask: Callable[[], Awaitable[object]], wanted: object) -> None:
        """Ask until the answer is ``wanted``: for what the server does in its own time and tells nobody."""
        seen: object = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while (seen := await ask()) != wanted:  # noqa: ASYNC110  (it is in another server)
                    await asyncio.sleep(ASK_AGAIN_S)
        except TimeoutError:
            raise AssertionError(f"wanted {wanted!r}, last {seen!r}") from None


class JsWorld:
    """An account with JetStream that one test has for itself."""

    def __init__(self, broker: Broker, user: str) -> None:
        self.broker, self.user = broker, user
        self._clients: list[JsClient] = []

    @property
    def url(self) -> str:
        return f"nats://{self.user}:p@127.0.0.1:{self.broker.process.port()}"

    async def client(self) -> JsClient:
        """One more connection of the account."""
        connect = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        credentials = {"user": self.user, "pass": "p"}
        self._clients.append(JsClient(await self.broker.client(json.dumps({**connect, **credentials}))))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.raw.close()


def js_world(brokers: Brokers) -> JsWorld:
    """A fresh account on the server that all of them share."""
    return JsWorld(brokers.shared(WORLDS_CONFIG), f"j{brokers.number(WORLDS)}")


async def at_once(
    brokers: Brokers, tell: Callable[..., Awaitable[None]], cases: Iterable[Sequence[object]]
) -> None:
    """``tell(js, *case)`` for all cases at the same time, each in an account of its own: what they wait for is waited
    for once."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for case in cases:
            world = js_world(brokers)
            stack.callback(world.close)
            group.create_task(_told(tell(await world.client(), *case)))


async def _told(case: Awaitable[None]) -> None:
    await case


@asynccontextmanager
async def js_server(broker: Broker, user: str = "") -> AsyncIterator[JsClient]:
    """A client of a server that a test has for itself."""
    world = JsWorld(broker, user)
    try:
        yield await world.client()
    finally:
        world.close()
