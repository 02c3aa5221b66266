"""The system account as a test sees it: requests and events as JSON.

Requests are answered one after another, but those for STATSZ by themselves: silence is proven behind an answer of both
kinds (:meth:`SysClient.sync`).
"""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.brokers import Broker
from tests.support.jetstream import JsClient, Json, Message

SERVER = "$SYS.REQ.SERVER"


class SysClient(JsClient):
    """A connection that asks the server about itself."""

    async def sync(self) -> None:
        """All requests that were sent before have been looked at."""
        for name in ("STATSZ", "IDZ"):
            await self.request(f"{SERVER}.PING.{name}")
        await self.ping()

    async def ask(self, subject: str, body: object = None, headers: Mapping[str, str] | None = None) -> Json:
        """The answer; ``body`` is bytes, or something for JSON."""
        return (await self.answer(subject, body, headers)).json

    async def answer(
        self, subject: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Message:
        """The answer as it came."""
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request(subject, payload, headers)

    async def data(self, subject: str, body: object = None) -> Any:
        """What is in the envelope of an answer that is no error."""
        answer = await self.ask(subject, body)
        assert list(answer) == ["server", "data"], answer
        return answer["data"]

    async def refused(self, subject: str, body: object = None) -> tuple[int, str, bool]:
        """Code and text of an error, and whether ``data`` is there, too (it is null then)."""
        answer = await self.ask(subject, body)
        assert answer.get("data") is None, answer
        error = answer["error"]
        return error["code"], error["description"], "data" in answer

    async def server_id(self) -> str:
        """The id of the server."""
        return str((await self.ask(f"{SERVER}.PING.IDZ"))["id"])

    async def silent(self, subject: str, body: bytes = b"") -> None:
        """Nobody answers."""
        inbox = self.inbox()
        self.send(subject, body, reply=inbox.subject)
        await inbox.silence()

    async def __aenter__(self) -> "SysClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.raw.close()


async def system_client(broker: Broker, user: str = "sys", **connect: object) -> SysClient:
    """A client; "sys" is of the system account."""
    fields = {"verbose": False, "headers": True, "no_responders": True, "user": user, "pass": "p"}
    client = SysClient(await broker.client(json.dumps({**fields, **connect})))
    await client.ping()
    return client
