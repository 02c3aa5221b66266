"""Requests as JSON: keys in any case, unknown ones refused where strictness is asked for, Go's words for mistakes."""

import json
from typing import Any, TypeVar

import msgspec

from phloem.shared.jetstream.errors import error

T = TypeVar("T", bound=msgspec.Struct)
# What msgspec raises for JSON that makes no sense.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
GO_NAMES = {
    "StreamRequest": "StreamConfigRequest",
    "CreateRequest": "CreateConsumerRequest",
    "PurgeRequest": "JSApiStreamPurgeRequest",
    "DeleteRequest": "JSApiMsgDeleteRequest",
    "GetRequest": "JSApiMsgGetRequest",
    "ResetRequest": "JSApiConsumerResetRequest",
    "UnpinRequest": "JSApiConsumerUnpinRequest",
}
ANY_CASE = {"discard"}  # words that Go reads in any case


def decode(body: bytes, kind: type[T], *, strict: bool) -> T:
    """The request. Raises ApiError 10025."""
    plain = _read(body, kind.__name__, "unexpected EOF", with_offset=True)
    return _made(plain, kind, strict)


def decode_plain(body: bytes, kind: type[T]) -> T:
    """A request whose unknown keys are passed over, with the words of Go's own decoder. Raises ApiError 10025."""
    name = f"server.{GO_NAMES.get(kind.__name__, kind.__name__)}"
    return _made(_read(body, name, "unexpected end of JSON input"), kind, strict=False)


def _read(body: bytes, name: str, ended: str, *, with_offset: bool = False) -> dict[str, Any]:
    """The object of a body; ``ended`` is said of one that is cut off."""
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError) as problem:
        at = getattr(problem, "pos", 0)
        if at >= len(body):
            raise error(10025, err=ended) from None
        found = body[at : at + 1].decode(errors="replace")
        offset = f" at offset {at + 1}" if with_offset else ""
        text = f"invalid character {found!r} looking for beginning of value{offset}"
        raise error(10025, err=text) from None
    if not isinstance(plain, dict):
        raise error(10025, err=f"json: cannot unmarshal {_go_type(plain)} into Go value of type {name}")
    return plain


def _made(plain: dict[str, Any], kind: type[T], strict: bool) -> T:
    try:
        return msgspec.convert(_named(plain, kind, strict), kind, strict=True)
    except msgspec.ValidationError as problem:
        raise error(10025, err=_words(str(problem), plain, kind)) from None


def _go_type(value: Any) -> str:
    for kind, name in ((bool, "bool"), (str, "string"), ((int, float), "number"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def _named(plain: dict[str, Any], kind: type[msgspec.Struct], strict: bool) -> dict[str, Any]:
    """The keys as they are declared. null is as if it were not there."""
    known = {field.encode_name.lower(): field for field in msgspec.structs.fields(kind)}
    result: dict[str, Any] = {}
    for key, value in plain.items():
        field = known.get(key.lower())
        if field is None:
            if strict:
                raise error(10025, err=f'json: unknown field "{key}"')
        elif value is not None:
            if field.encode_name in ANY_CASE and isinstance(value, str):
                value = value.lower()
            result[field.encode_name] = _inside(value, field.type, strict)
    return result


def _inside(value: Any, kind: Any, strict: bool) -> Any:
    struct = _struct(kind)
    if struct is not None and isinstance(value, dict):
        return _named(value, struct, strict)
    if struct is not None and isinstance(value, list):
        return [_named(item, struct, strict) if isinstance(item, dict) else item for item in value]
    return value


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    for candidate in (kind, *getattr(kind, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _words(problem: str, plain: dict[str, Any], kind: type[msgspec.Struct]) -> str:
    """msgspec's complaint in Go's words."""
    text, _, path = problem.partition(" - at `$.")
    field = path.rstrip("`").split("[")[0]
    value: Any = {key.lower(): item for key, item in plain.items()}
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else value
    name = GO_NAMES.get(kind.__name__, kind.__name__)
    if text.startswith("Expected `int` >=") or text.startswith("Expected `int` <"):
        return f"json: cannot unmarshal number {value} into Go struct field {name}.{field} of type uint64"
    if field == "compression" and isinstance(value, str):
        return "unknown compression algorithm"
    if field == "action":
        return f"unknown consumer action: {json.dumps(value)}"
    if field.endswith("priority_policy"):
        return f"unknown priority policy: {json.dumps(value)}"
    if "enum" in text:
        return f'can not unmarshal "\\"{value}\\""'
    go = (
        "int64"
        if "`int`" in text
        else "string"
        if "`str`" in text
        else "bool"
        if "`bool`" in text
        else "[]string"
    )
    return f"json: cannot unmarshal {_go_type(value)} into Go struct field {name}.{field} of type {go}"
