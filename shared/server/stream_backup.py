"""A stream's backup as a folder, from any NATS server and to any: what ``phloem stream backup`` and ``restore`` do.

The folder has ``backup.json`` (configuration and state) and ``stream.tar.s2`` (the snapshot as the server sent it),
which is the layout of the ``nats`` command, so that backups move between tools. Rules: a snapshot is unpacked while it
arrives and compared with the state that was announced; what is not complete is never left behind under the final names;
whoever asks is told what to do about a failure.

Specification: reference 5.4.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from phloem.shared.errors import PhloemError
from phloem.shared.jetstream.archive import MAGIC, ArchiveError, Reader
from phloem.shared.wire.s2 import CorruptStream, Decoder

META, DATA = "backup.json", "stream.tar.s2"
DATA_NAMES = (
    DATA,
    "stream.arc.s2",
)  # what newer versions of the nats command write; all of them read the first
CHUNK = 128 << 10
RESTORE_CHUNK = 64 << 10  # below any server's max_payload that makes sense
TIMEOUT_S = 10.0
FINAL_TIMEOUT_S = 3600.0  # the server puts the last of it on the disk
MESSAGE_MAX = 64 << 20  # the most that a NATS server lets anybody publish

Progress = Callable[[int, int], None]
"""Bytes so far, and of how many (0: unknown)."""


class BackupError(PhloemError):
    """It came to nothing; the text says what to do."""


class JetStreamApi:
    """Requests to one server's JetStream API."""

    def __init__(self, client: Client, domain: str = "") -> None:
        self.client = client
        self.domain = domain
        self._prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def ask(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer. Raises BackupError in the server's words."""
        payload = json.dumps(body).encode() if body is not None else b""
        try:
            answer = await self.client.request(f"{self._prefix}.{what}", payload, timeout=TIMEOUT_S)
        except nats.errors.NoRespondersError:
            raise BackupError(
                "JetStream is not enabled on this server or account (or --domain is wrong)"
            ) from None
        except nats.errors.MaxPayloadError:
            raise BackupError(
                "the stream's state is larger than the server's max_payload: raise it"
            ) from None
        except nats.errors.TimeoutError:
            raise BackupError(
                f"no answer to {what} in {TIMEOUT_S:g}s: is the account allowed to use it?"
            ) from None
        return plain_answer(answer.data)


def plain_answer(data: bytes) -> dict[str, Any]:
    """A JSON answer that is no error. Raises BackupError."""
    try:
        found = json.loads(data)
    except ValueError:
        raise BackupError("the server's answer is not JSON") from None
    if not isinstance(found, dict):
        raise BackupError("the server's answer is not an object")
    if problem := found.get("error"):
        raise BackupError(f"{problem.get('description', '?')} ({problem.get('err_code', '?')})")
    return found


class Census:
    """Counts what is in a snapshot while it passes; the old format (a tar, nats-server up to 2.14) only passes."""

    def __init__(self) -> None:
        self._decoder, self._reader = Decoder(), Reader(MESSAGE_MAX)
        self._begun = False
        self.known = True  # a format whose content can be counted
        self.messages = self.last_seq = self.consumers = self.plain_bytes = 0

    def feed(self, data: bytes) -> None:
        """More of the snapshot. Raises BackupError when it is damaged."""
        try:
            self._decoder.feed(data)
            while block := self._decoder.block():
                self.plain_bytes += len(block)
                if not self._begun:
                    self._begun, self.known = True, block.startswith(MAGIC)
                if self.known:
                    self._count(block)
        except (ArchiveError, CorruptStream) as problem:
            raise BackupError(f"the snapshot is damaged: {problem}") from None

    def _count(self, block: bytes) -> None:
        self._reader.feed(block)
        for entry in self._reader.entries():
            if entry.seq:
                self.messages += 1
                self.last_seq = entry.seq
            else:
                self.consumers += 1

    def check(self, state: dict[str, Any]) -> None:
        """Whether it is all there. Raises BackupError."""
        if not self._decoder.between_chunks or (self.known and not self._reader.done):
            raise BackupError("the snapshot ends in the middle: make the backup again")
        wanted = int(state.get("messages", 0))
        if self.known and self.messages < wanted:
            raise BackupError(
                f"the snapshot has {self.messages:,} messages, the stream had {wanted:,}: messages were removed "
                "meanwhile (limits, a purge); make the backup again"
            )


async def _receive(
    messages: "asyncio.Queue[Msg]", out: Any, census: Census, told: Callable[[int], None]
) -> None:
    """Everything up to the empty message. Raises BackupError."""
    while True:
        try:
            message = await asyncio.wait_for(messages.get(), TIMEOUT_S)
        except TimeoutError:
            raise BackupError(
                f"the server sent nothing for {TIMEOUT_S:g}s: the connection may be too slow"
            ) from None
        if not message.data:
            status = (message.headers or {}).get("Status", "204")
            if status != "204":
                words = (message.headers or {}).get("Description", "")
                raise BackupError(f"the server ended the snapshot: {status} {words}".rstrip())
            return
        out.write(message.data)
        census.feed(message.data)
        told(census.plain_bytes)
        if message.reply:
            await message.respond(b"")


def _begun(folder: Path) -> Path:
    """The file that is written first. Raises BackupError."""
    if (folder / META).exists():
        raise BackupError(f"{folder} already has a backup: give another folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"{DATA}.part"


async def backup(
    api: JetStreamApi,
    stream: str,
    folder: Path,
    *,
    consumers: bool = True,
    check: bool = False,
    progress: Progress = lambda done, total: None,
) -> tuple[dict[str, Any], Census]:
    """Write ``folder``; the answer with configuration and state, and what was counted. Raises BackupError."""
    part, census = _begun(folder), Census()
    inbox = api.client.new_inbox()
    messages: asyncio.Queue[Msg] = asyncio.Queue()

    async def came(message: Msg) -> None:
        messages.put_nowait(message)

    subscription = await api.client.subscribe(inbox, cb=came, pending_msgs_limit=-1, pending_bytes_limit=-1)
    try:
        wanted = {"deliver_subject": inbox, "no_consumers": not consumers, "chunk_size": CHUNK, "jsck": check}
        answer = await api.ask(f"STREAM.SNAPSHOT.{stream}", wanted)
        total = int(answer["state"].get("bytes", 0))

        with part.open("wb") as out:
            await _receive(messages, out, census, lambda done: progress(done, max(total, done)))
        census.check(answer["state"])
        progress(census.plain_bytes, census.plain_bytes)
        meta = {"config": answer["config"], "state": answer["state"]}
        part.rename(folder / DATA)
        (folder / META).write_text(json.dumps(meta, indent=2))
        return meta, census
    finally:
        part.unlink(missing_ok=True)
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()


def read_meta(folder: Path) -> dict[str, Any]:
    """Configuration and state of a backup. Raises BackupError."""
    try:
        meta = json.loads((folder / META).read_bytes())
        assert isinstance(meta["config"]["name"], str)
        assert isinstance(meta["state"], dict)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as problem:
        raise BackupError(f"{folder / META} cannot be used: {problem}") from None
    assert isinstance(meta, dict)
    return meta


def data_of(folder: Path) -> Path:
    """The snapshot of a backup. Raises BackupError."""
    for name in DATA_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise BackupError(f"{folder} has no {DATA}: is it a folder that a backup made?")


async def restore(
    api: JetStreamApi,
    folder: Path,
    *,
    replicas: int = 0,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Make the stream again; its info. Raises BackupError."""
    meta, source = read_meta(folder), data_of(folder)
    config, state = meta["config"], meta["state"]
    if replicas:
        config = config | {"num_replicas": replicas}
    answer = await api.ask(f"STREAM.RESTORE.{config['name']}", {"config": config, "state": state})
    target, total, done = answer["deliver_subject"], source.stat().st_size, 0
    size = min(RESTORE_CHUNK, api.client.max_payload)
    with source.open("rb") as data:
        while chunk := data.read(size):
            reply = await _hand_over(api.client, target, chunk, TIMEOUT_S)
            if reply:
                plain_answer(reply)
            done += len(chunk)
            progress(done, total)
    info = plain_answer(await _hand_over(api.client, target, b"", FINAL_TIMEOUT_S))
    made, wanted = info["state"], state
    for what in ("messages", "last_seq"):
        if int(made.get(what, 0)) != int(wanted.get(what, 0)):
            info.setdefault("differs", []).append(
                f"{what}: {made.get(what, 0):,}, in the backup {wanted.get(what, 0):,}"
            )
    return info


async def _hand_over(client: Client, target: str, chunk: bytes, timeout_s: float) -> bytes:
    try:
        return (await client.request(target, chunk, timeout=timeout_s)).data
    except nats.errors.NoRespondersError:
        raise BackupError("the server has given the restore up; its log says why") from None
    except nats.errors.TimeoutError:
        raise BackupError(f"no answer from the server in {timeout_s:g}s") from None
