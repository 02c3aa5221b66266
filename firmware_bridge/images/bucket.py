"""The object store as a port sees it: what lies under a name, and its bytes, chunk by chunk.

Asked through JetStream's API and without a consumer: a download that was cut goes on with the chunk behind its last
one, and whatever holds the bridge's requests (a server's connection, or an edge's own kernel) will do.
"""

import asyncio
import base64
import binascii
from typing import NamedTuple

import msgspec

from phloem.firmware_bridge.images import limits
from phloem.firmware_bridge.images.manifest import ObjectMeta, parse
from phloem.firmware_bridge.requests import Requests

_NO_MESSAGE = 10037


class BucketError(Exception):
    """The bucket does not answer, or not as it should: it is asked again."""


class Chunk(NamedTuple):
    """One of an object's; ``seq`` is the stream's number of it."""

    seq: int
    data: bytes


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Stored(msgspec.Struct):
    seq: int
    data: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None
    message: _Stored | None = None
    seq: int = 0


class Bucket:
    """One bucket; ``domain`` is the JetStream that has it, empty for the broker's own."""

    def __init__(self, requests: Requests, name: str, domain: str) -> None:
        self.name, self._requests = name, requests
        self._api = f"$JS.{domain}.API" if domain else "$JS.API"

    def meta_subject(self, name: str) -> str:
        """Where the metadata of an object are published."""
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    async def look(self, name: str) -> ObjectMeta | None:
        """What lies under ``name``; None if nothing does.

        Raises:
            BucketError: Nobody knows.
        """
        found = await self._get({"last_by_subj": self.meta_subject(name)})
        return parse(found.data) if found is not None else None

    async def chunk(self, nuid: str, after: int) -> Chunk | None:
        """The first chunk of an object behind the stream's number ``after``; None if there is none.

        Raises:
            BucketError: Nobody knows.
        """
        return await self._get({"next_by_subj": f"$O.{self.name}.C.{nuid}", "seq": after + 1})

    async def _get(self, question: dict[str, object]) -> Chunk | None:
        subject = f"{self._api}.STREAM.MSG.GET.OBJ_{self.name}"
        answer = await asked(self._requests, subject, msgspec.json.encode(question))
        if answer.message is not None:
            try:
                return Chunk(answer.message.seq, base64.b64decode(answer.message.data, validate=True))
            except binascii.Error:
                raise BucketError("JetStream's answer cannot be read") from None
        if answer.error is not None and answer.error.err_code == _NO_MESSAGE:
            return None
        raise BucketError(answer.error.description if answer.error else "JetStream's answer cannot be read")


class States:
    """The KV bucket where ports say how far they are."""

    def __init__(self, requests: Requests, name: str) -> None:
        self._requests, self._name = requests, name

    async def put(self, key: str, value: bytes) -> None:
        """Say it, and make the bucket if it is not there.

        Raises:
            BucketError: It is not stored, or nobody knows.
        """
        answer = await self._put(key, value)
        if answer is not None:
            return
        config = {
            "name": f"KV_{self._name}",
            "subjects": [f"$KV.{self._name}.>"],
            "max_msgs_per_subject": limits.STATES_HISTORY,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
        }
        made = await asked(
            self._requests, f"$JS.API.STREAM.CREATE.KV_{self._name}", msgspec.json.encode(config)
        )
        if made.error is not None:
            raise BucketError(made.error.description)
        if await self._put(key, value) is None:
            raise BucketError(f"nobody takes states for {self._name}")

    async def _put(self, key: str, value: bytes) -> _Answer | None:
        """None if nobody listens there."""
        answer = await answered(self._requests, f"$KV.{self._name}.{key}", value)
        if answer is None:
            return None
        if answer.error is not None or not answer.seq:
            raise BucketError(answer.error.description if answer.error else "it is not stored")
        return answer


async def asked(requests: Requests, subject: str, payload: bytes) -> _Answer:
    """JetStream's answer.

    Raises:
        BucketError: There is none.
    """
    answer = await answered(requests, subject, payload)
    if answer is None:
        raise BucketError("JetStream does not answer")
    return answer


async def answered(requests: Requests, subject: str, payload: bytes) -> _Answer | None:
    """The same; None if there is none. Raises BucketError for one that makes no sense."""
    answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def done(payload: bytes | None) -> None:
        if not answer.done():
            answer.set_result(payload)

    requests.ask([(subject.encode(), b"", payload)], done)
    data = await answer
    if not data:  # also "no responders", which is an empty message
        return None
    try:
        return msgspec.json.decode(data, type=_Answer)
    except msgspec.DecodeError:
        raise BucketError("JetStream's answer cannot be read") from None
