"""Store-and-forward of an edge from its configuration: the streams are made if they are not there, one forwarder for
each account."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phloem.edge.forward.forwarder import Forwarder
from phloem.edge.forward.log_stream import LogStream
from phloem.edge.forward.publisher import Publisher
from phloem.edge.forward.settings import entry_of, keep_of
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Class, Entry
from phloem.shared.forward.messages import Epoch
from phloem.shared.forward.sender import PARCEL_MIN
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.jetstream.api import Request
from phloem.shared.server.jetstream.api_streams import create

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.options_forward import Forward
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


NOT_TODAY_NS = (
    3600 * SECOND_NS
)  # until it is asked again whether something may be sent that is too much by itself


class Metered:
    """What the account of the links (``link_meter``) allows."""

    def __init__(self, server: "Server") -> None:
        self._meter = server.leafs.meter

    def wait_ns(self, cls: Class, _now_ns: int) -> int:
        """As in ``Allowance``."""
        answer = self._meter.may_send(cls.name.lower(), PARCEL_MIN)
        if answer.ok:
            return 0
        return int(answer.wait_s * SECOND_NS) if answer.wait_s > 0 else NOT_TODAY_NS


def start(server: "Server") -> tuple[list[Forwarder], list[Publisher]]:
    """Everything in ``forward``: what sends it to a hub of phloem's, and what publishes it to any other. Raises
    ConfigError."""
    blocks: dict[str, list[Forward]] = {}
    for block in server.options.forward:
        blocks.setdefault(block.account or GLOBAL_ACCOUNT, []).append(block)
    to = server.options.phloem.forward_to
    forwarders, publishers = [], []
    for account, mine in blocks.items():
        boot = boot_number()
        streams, entries, reopened = _streams(server, account, mine, boot)
        if to != "jetstream":
            forwarders.append(
                Forwarder(
                    server, account, streams, entries, boot=boot, allowance=Metered(server), reopen=reopened
                )
            )
        if to != "phloem":
            publishers.append(
                Publisher(server, account, streams, entries, allowance=Metered(server), auto=to == "auto")
            )
    return forwarders, publishers


def _streams(
    server: "Server", account: str, blocks: "list[Forward]", boot: int
) -> tuple[dict[str, LogStream], list[Entry], Callable[[Entry], LogStream | None]]:
    js = server.jetstream
    assert js is not None
    home = js.accounts.get(account)
    if home is None:
        raise ConfigError(f'forward "{blocks[0].name}": account "{account}" has no JetStream')
    clock = server.clock
    by_name = {block.name: block for block in blocks}

    def opened(entry: Entry) -> LogStream | None:
        block = by_name[entry.name]
        stream = home.streams.get(entry.stream)
        if stream is None:
            return None
        _check(block, stream)
        now = Epoch(server.rng.getrandbits(63) | 1, 1, boot, clock.wall_ns() - clock.monotonic_ns())
        return LogStream(entry, stream, keep_of(block), now)

    def reopened(entry: Entry) -> LogStream | None:
        try:
            return opened(entry)
        except ConfigError as error:
            log.error("%s", error)
            return None

    streams, entries = {}, []
    for block in blocks:
        entry = entry_of(block)
        if entry.stream not in home.streams:
            _made(home, block, entry.stream)
        stream = opened(entry)
        assert stream is not None
        streams[entry.name] = stream
        entries.append(entry)
    return streams, entries, reopened


def _check(block: "Forward", stream: "Stream") -> None:
    """Raises ConfigError for a stream whose messages go because of consumers here, whatever the hub has."""
    retention = stream.config.retention
    if retention != "limits":
        raise ConfigError(
            f'forward "{block.name}": stream "{stream.name}" has the retention "{retention}", so its messages go '
            "when consumers of this device are done with them, forwarded or not; name a stream with the retention "
            '"limits", such as one that has this stream as its source'
        )


def _made(home: "AccountJetStream", block: "Forward", name: str) -> "Stream":
    config = {
        "name": name,
        "subjects": list(block.subjects),
        "max_bytes": block.max_bytes,
        "max_age": block.max_age_ns,
        "num_replicas": 1,
    }
    body = msgspec.json.encode(config)
    if not block.subjects:
        raise ConfigError(
            f'forward "{block.name}": there is no stream "{name}", and no subjects to make it from'
        )
    request = Request(home, f"$JS.API.STREAM.CREATE.{name}", [name], b"", b"", body)
    try:
        create(request)
    except ApiError as error:
        raise ConfigError(f'forward "{block.name}": stream "{name}" cannot be made: {error}') from error
    log.info("Stream '%s > %s' was made for forward \"%s\"", home.name, name, block.name)
    return home.streams[name]


def boot_number() -> int:
    """A number for this boot of the machine."""
    text = BOOT_ID.read_bytes() if BOOT_ID.exists() else b""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
