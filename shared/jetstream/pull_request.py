"""What a pull request asks for (reference 4.8), from any of the forms that a body may have."""

import re

import msgspec

from phloem.shared.jetstream.strict_json import UNREADABLE


class PullRequest(msgspec.Struct):
    """Durations are nanoseconds."""

    batch: int = 1
    expires: int = 0
    max_bytes: int = 0
    no_wait: bool = False
    idle_heartbeat: int = 0
    group: str | None = ""  # None: it said nothing at all, and is for whatever group there is
    min_pending: int = 0
    min_ack_pending: int = 0
    id: str = ""
    priority: int = 0


class BadRequest(Exception):
    """The status that answers a request that makes no sense."""


_WRONG = re.compile(r"Expected `(\w+)`, got `(\w+)` - at `\$\.(\w+)`")
GO_KINDS = {"int": "int", "str": "string", "float": "number"}
_decode = msgspec.json.Decoder(PullRequest).decode


def _words(problem: str) -> str:
    """msgspec's complaint in Go's words."""
    if "truncated" in problem:
        return "unexpected end of JSON input"
    found = _WRONG.match(problem)
    if found is None:
        return problem
    wanted, got, field = found.groups()
    kind = GO_KINDS.get(wanted, wanted)
    if field in ("expires", "idle_heartbeat"):
        kind = "time.Duration"
    return f"json: cannot unmarshal {GO_KINDS.get(got, got)} into Go struct field .{field} of type {kind}"


def decode_pull(body: bytes) -> PullRequest:
    """Raises BadRequest."""
    text = body.strip()
    if not text:
        return PullRequest(group=None)
    if text[:1] != b"{":
        number = int(text) if text.isdigit() and len(text) < 10 else 1
        return PullRequest(batch=number or 1, group=None)
    try:
        request = _decode(text)
    except UNREADABLE as problem:
        raise BadRequest(f"400 Bad Request - {_words(str(problem))}") from None
    request.group = request.group or ""  # null
    if request.idle_heartbeat > 0 and request.idle_heartbeat * 2 > request.expires:
        raise BadRequest("400 Bad Request - heartbeat value too large")
    for value in (
        request.batch,
        request.expires,
        request.max_bytes,
        request.min_pending,
        request.min_ack_pending,
    ):
        if not -(1 << 62) < value < 1 << 62:
            raise BadRequest("400 Bad Request - number out of range")
    return request
