"""Requests as JSON: keys in any case, unknown ones refused where strictness is asked for, Go's words for mistakes."""

import json
import re
import typing
from typing import Any, TypeVar

import msgspec

from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.times import parse_rfc3339

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
INDEX = re.compile(r"\[(\d+)\]")  # in msgspec's paths
TIMES = {"opt_start_time", "pause_until", "start_time", "up_to_time"}
GO_TYPES = {"`int`": "int64", "`str`": "string", "`bool`": "bool"}


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
    unknown: list[tuple[int, str]] = []
    named: dict[str, Any] = {}
    try:
        _named(plain, kind, unknown, named)
    except ApiError:
        if strict and unknown:
            raise _unknown(unknown) from None
        _converted(named, kind, unknown)  # what comes before it may be of a wrong type
        raise
    return _converted(named, kind, unknown if strict else [])


def _converted(named: dict[str, Any], kind: type[T], unknown: list[tuple[int, str]]) -> T:
    try:
        made = msgspec.convert(named, kind, strict=True)
    except msgspec.ValidationError as problem:
        place, words = _words(str(problem), named, kind)
        if not unknown or place < unknown[0][0]:
            raise error(10025, err=words) from None
    if unknown:
        raise _unknown(unknown)
    return made


def _unknown(found: list[tuple[int, str]]) -> ApiError:
    return error(10025, err=f'json: unknown field "{found[0][1]}"')


def _go_type(value: Any) -> str:
    for kind, name in ((bool, "bool"), (str, "string"), ((int, float), "number"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def _named(
    plain: dict[str, Any],
    kind: type[msgspec.Struct],
    unknown: list[tuple[int, str]],
    result: dict[str, Any],
    top: int = -1,
) -> dict[str, Any]:
    """Fills ``result`` with the keys as they are declared; null is as if it were not there. Others go into
    ``unknown``, with their place among the keys of the whole. A word that is none, and a time that is none, end it."""
    known = {field.encode_name.lower(): field for field in msgspec.structs.fields(kind)}
    for place, (key, value) in enumerate(plain.items()):
        field = known.get(key.lower())
        outer = place if top < 0 else top
        if field is None:
            unknown.append((outer, key))
        elif value is not None:
            if field.encode_name in ANY_CASE and isinstance(value, str):
                value = value.lower()
            _check_word(field, value)
            result[field.encode_name] = _inside(value, field.type, unknown, outer)
    return result


def _check_word(field: msgspec.structs.FieldInfo, value: Any) -> None:
    if field.encode_name in TIMES:
        if not isinstance(value, str):
            raise error(10025, err="Time.UnmarshalJSON: input is not a JSON string")
        try:
            parse_rfc3339(value)
        except ValueError as problem:
            raise error(10025, err=str(problem)) from None
        return
    if typing.get_origin(field.type) is not typing.Literal or value in typing.get_args(field.type):
        return
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    match field.encode_name:
        case "compression" if isinstance(value, str):
            text = "unknown compression algorithm"
        case "action":
            text = f"unknown consumer action: {written}"
        case "priority_policy":
            text = f"unknown priority policy: {written}"
        case _:
            text = f"can not unmarshal {json.dumps(written, ensure_ascii=False)}"
    raise error(10025, err=text)


def _inside(value: Any, kind: Any, unknown: list[tuple[int, str]], top: int) -> Any:
    struct = _struct(kind)
    if struct is not None and isinstance(value, dict):
        return _named(value, struct, unknown, {}, top)
    if struct is not None and isinstance(value, list):
        return [_named(item, struct, unknown, {}, top) if isinstance(item, dict) else item for item in value]
    return value


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    for candidate in (kind, *getattr(kind, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _words(problem: str, named: dict[str, Any], kind: type[msgspec.Struct]) -> tuple[int, str]:
    """msgspec's complaint in Go's words, and the place of its key."""
    text, _, path = problem.partition(" - at `$.")
    field = INDEX.sub(r".\1", path.rstrip("`"))
    value: Any = named
    for part in field.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
    place = list(named).index(field.split(".")[0]) if field.split(".")[0] in named else 0
    name = GO_NAMES.get(kind.__name__, kind.__name__)
    if text.startswith("Expected `int` >=") or text.startswith("Expected `int` <"):
        return (
            place,
            f"json: cannot unmarshal number {value} into Go struct field {name}.{field} of type uint64",
        )
    go = next((go for ours, go in GO_TYPES.items() if ours in text), "[]string")
    text = f"json: cannot unmarshal {_go_type(value)} into Go struct field {name}.{field} of type {go}"
    return place, text
