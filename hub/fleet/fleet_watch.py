"""Reads the ledger of devices from a hub, as any NATS client can: what it has, and what changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError, NoStreamResponseError, NotFoundError, ServiceUnavailableError
from nats.js.kv import KeyValue

from phloem.shared.errors import PhloemError
from phloem.shared.forward import ledger
from phloem.shared.forward.ledger import Document
from phloem.shared.server.stream_backup import BackupError
from phloem.shared.server.stream_command import connected

AGAIN_S = 2.0  # between two attempts to reach the hub, and to find a ledger
NONE_YET = "no device has forwarded anything to this account yet"

Hear = Callable[[Document], None]


class WatchError(PhloemError):
    """The hub cannot be asked."""


class Watch:
    """The documents of all devices, or of one. ``options`` are those of ``with_server``."""

    def __init__(self, options: dict[str, str], device: str = "") -> None:
        self._options = options
        self._keys = device or ">"
        self.documents: dict[str, Document] = {}
        self._ended = asyncio.Event()  # the connection has
        self.problem = ""  # why what is there may be old

    async def once(self) -> dict[str, Document]:
        """What there is now. Raises WatchError."""
        async with self._connection() as client:
            bucket = await self._bucket(client)
            if bucket is not None:
                async with _watching(bucket, self._keys) as updates:
                    async for entry in updates:
                        if entry is None:
                            break
                        self._take(entry)
        return self.documents

    async def follow(self, hear: Hear) -> None:
        """Every change, from what there is now on. Raises WatchError, and when the connection ends."""
        async with self._connection() as client:
            while (bucket := await self._bucket(client)) is None:
                self.problem = NONE_YET
                await asyncio.sleep(AGAIN_S)
            self.problem = ""
            gone = asyncio.create_task(self._ended.wait())
            following = asyncio.create_task(self._follow(bucket, hear))
            try:
                await asyncio.wait({gone, following}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                following.cancel()
                await asyncio.wait({gone, following})
            if not following.cancelled() and (error := following.exception()) is not None:
                raise error
            raise WatchError("the connection to the hub has ended")

    async def _follow(self, bucket: KeyValue, hear: Hear) -> None:
        async with _watching(bucket, self._keys) as updates:
            async for entry in updates:
                document = self._take(entry) if entry is not None else None
                if document is not None:
                    hear(document)

    async def keep_following(self) -> None:
        """The same without end. Raises WatchError if the hub cannot be reached the first time."""
        reached = False
        while True:
            try:
                await self.follow(lambda _document: None)
            except WatchError as problem:
                if not reached and not self.documents and self.problem != NONE_YET:
                    raise
                self.problem = str(problem)
            reached = True
            await asyncio.sleep(AGAIN_S)

    def _take(self, entry: KeyValue.Entry) -> Document | None:
        document = ledger.decode(entry.value) if entry.operation is None and entry.value else None
        if document is None:
            self.documents.pop(entry.key, None)
        else:
            self.documents[entry.key] = document
        return document

    async def _hear_end(self) -> None:
        self._ended.set()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Client]:
        self._ended.clear()
        try:
            client = await connected(self._options, closed_cb=self._hear_end)
            try:
                yield client
            finally:
                await client.close()
        except BackupError as problem:
            raise WatchError(str(problem)) from None
        except (OSError, nats.errors.Error) as problem:
            raise WatchError(f"the hub does not answer: {problem or type(problem).__name__}") from None

    async def _bucket(self, client: Client) -> KeyValue | None:
        """None: no device has forwarded anything yet."""
        domain = self._options["domain"]
        js = client.jetstream(domain=domain) if domain else client.jetstream()
        try:
            return await js.key_value(ledger.BUCKET)
        except (BucketNotFoundError, NotFoundError):
            return None
        except (NoStreamResponseError, ServiceUnavailableError, nats.errors.NoRespondersError):
            raise WatchError("JetStream is not enabled in this account (or --domain is wrong)") from None
        except nats.errors.TimeoutError:
            raise WatchError("the hub does not answer: may this user use JetStream?") from None


@contextlib.asynccontextmanager
async def _watching(bucket: KeyValue, keys: str) -> AsyncIterator[Any]:
    updates = await bucket.watch(keys)
    try:
        yield updates
    finally:
        with contextlib.suppress(nats.errors.Error):
            await updates.stop()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
