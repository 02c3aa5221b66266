"""The device's streams that ``forward`` blocks make, and what a block may have of a stream that is there.

A stream that was made for a block is what the block says: its subjects always, its bounds as far as the block names
them or has just changed them. A stream that is there for other reasons is left alone.
"""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.edge.forward.settings import stream_of
from phloem.shared.errors import ConfigError
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.server.jetstream.api import Request
from phloem.shared.server.jetstream.api_streams import create, judge

if TYPE_CHECKING:
    from phloem.shared.jetstream.stream_config import StreamConfig
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.options_forward import Forward

log = logging.getLogger("phloem.forward")

SYNC = "phloem.sync"  # in a stream's metadata
NO_SPACE, NO_ROOM = 10023, 10047  # the disk takes nothing new; more is reserved than it has
UNBOUND = {"max_bytes": -1, "max_age": 0}


class NoRoom(ConfigError):
    """Right, and the disk has no space for it now."""


def _refused(home: "AccountJetStream", error: ApiError, text: str) -> ConfigError:
    """What to raise. A bound that follows the disk is one of the disk, one from the configuration is not."""
    follows = home.system.options.max_file_store < 0
    if error.err_code == NO_SPACE or (error.err_code == NO_ROOM and follows):
        return NoRoom(text)
    return ConfigError(text)


def make(home: "AccountJetStream", block: "Forward") -> "Stream":
    """The block's stream, which is not there. Raises ConfigError."""
    name = stream_of(block)
    if not block.subjects:
        raise ConfigError(
            f'forward "{block.name}": there is no stream "{name}", and no subjects to make it from'
        )
    body = {"name": name, "subjects": list(block.subjects), "num_replicas": 1, **_bounds(block)}
    body["metadata"] = {SYNC: "interval"} if block.sync_ns else {}
    try:
        create(_request(home, "CREATE", name, msgspec.json.encode(body)))
    except ApiError as error:
        text = f'forward "{block.name}": stream "{name}" cannot be made: {error}'
        raise _refused(home, error, text + _who_has(home, block)) from error
    log.info("Stream '%s > %s' was made for forward \"%s\"", home.name, name, block.name)
    return home.streams[name]


def check(block: "Forward", stream: "Stream") -> None:
    """Raises ConfigError for a stream whose messages go because of consumers here, whatever the hub has."""
    retention = stream.config.retention
    if retention != "limits":
        raise ConfigError(
            f'forward "{block.name}": stream "{stream.name}" has the retention "{retention}", so its messages go '
            "when consumers of this device are done with them, forwarded or not; name a stream with the retention "
            '"limits", such as one that has this stream as its source'
        )


def following(block: "Forward", before: "Forward | None", stream: "Stream") -> "StreamConfig | None":
    """What the configuration of a stream becomes that was made for the block, which was ``before`` until now; None: it
    stays. Raises ConfigError."""
    config = stream.config
    if block.stream:
        return None
    old = _bounds(before) if before is not None else UNBOUND
    bounds = {name: value for name, value in _bounds(block).items() if value != old[name]}
    metadata = {name: value for name, value in config.metadata.items() if name != SYNC}
    if block.sync_ns:
        metadata[SYNC] = "interval"
    new = msgspec.structs.replace(config, subjects=list(block.subjects), metadata=metadata, **bounds)
    if 0 < new.max_age < new.duplicate_window:
        new.duplicate_window = new.max_age
    if new == config:
        return None  # also on a disk without space, where no change would be taken
    body = msgspec.json.encode(new)
    try:
        _, judged = judge(_request(stream.account, "UPDATE", stream.name, body))
    except ApiError as error:
        text = f'forward "{block.name}": stream "{stream.name}" cannot be changed: {error}'
        raise _refused(stream.account, error, text + _who_has(stream.account, block)) from error
    return judged if judged != config else None


def _bounds(block: "Forward") -> dict[str, Any]:
    return {"max_bytes": block.max_bytes, "max_age": block.max_age_ns}


def _request(home: "AccountJetStream", word: str, name: str, body: bytes) -> Request:
    return Request(home, f"$JS.API.STREAM.{word}.{name}", [name], b"", b"", body)


def _who_has(home: "AccountJetStream", block: "Forward") -> str:
    """A stream of an entry that is gone may be in the way: then it is said what to do."""
    wanted = set(block.subjects)
    for name, stream in home.streams.items():
        if name != stream_of(block) and name.startswith("FORWARD_") and wanted & set(stream.config.subjects):
            return f'; "{name}" has them: forward it (stream: "{name}"), or remove it'
    return ""
