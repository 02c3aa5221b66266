"""Claims as JSON documents, read and written the way Go's ``encoding/json`` does it.

Reading: keys match in any case, unknown keys are ignored, ``null`` leaves the default, a value of the wrong type is an
error for the whole document, and numbers for integers are written as integers. Writing: fields in their order, empty
ones left out unless ``ALWAYS`` names them, ``< > &`` escaped. A struct's own JSON names are the fields' names.
"""

import functools
import re
import types
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from phloem.shared.errors import InvalidJWT

S = TypeVar("S", bound="Document")
Reader = Callable[[Any, str], Any]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is read and written here. Lists are tuples; ``None`` is Go's nil where it differs from empty."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset()  # written even if they are empty
    SECRET: ClassVar[frozenset[str]] = frozenset()  # not shown by repr

    def __repr__(self) -> str:
        """The fields that are set; of secrets only that they are."""
        cls = type(self)
        shown = []
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if not _empty(value):
                shown.append(f"{field}={'...' if field in cls.SECRET else repr(value)}")
        return f"{cls.__name__}({', '.join(shown)})"


class Range:
    """Bounds of an integer of Go."""

    def __init__(self, name: str, least: int, most: int) -> None:
        self.name, self.least, self.most = name, least, most


class Special:
    """A type with methods of its own for JSON. ``read`` gets value and path, ``write`` the value."""

    def __init__(self, read: Reader, write: Callable[[Any], Any]) -> None:
        self.read, self.write = read, write


Int64 = Annotated[int, Range("int64", -(1 << 63), (1 << 63) - 1)]
Int = Annotated[int, Range("int", -(1 << 63), (1 << 63) - 1)]
Uint = Annotated[int, Range("uint", 0, (1 << 64) - 1)]
Uint8 = Annotated[int, Range("uint8", 0, 255)]

_RAW_BYTES = {ord("<"): b"\\u003c", ord(">"): b"\\u003e", ord("&"): b"\\u0026"}
_AFTER = (  # part of msgspec's complaint, what Go says
    ("trailing characters", "after top-level value"),
    ("trailing comma in object", "looking for beginning of object key string"),
    ("object keys", "looking for beginning of object key string"),
    ("expected ':'", "after object key"),
    ("expected ',' or ']'", "after array element"),
    ("expected ',' or '}'", "after object key:value pair"),
)


def parse(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object in ``data``; ``null`` is an empty one. ``name`` is for the error.

    Raises:
        InvalidJWT: Not JSON, not an object, or nested too deeply.
    """
    try:
        document = msgspec.json.decode(data.decode("utf-8", "replace"))
    except RecursionError:
        raise InvalidJWT("exceeded max depth") from None
    except msgspec.DecodeError as error:
        raise InvalidJWT(go_syntax(data, str(error))) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidJWT(f"json: cannot unmarshal {go_type(document)} into Go value of type jwt.{name}")
    return document


def read(document: dict[str, Any], kind: type[S], path: str = "", onto: S | None = None) -> S:
    """``document`` as a ``kind``; what it does not name is as in ``onto``.

    Raises:
        InvalidJWT: A value of the wrong type.
    """
    known = _readers(kind)
    fields: dict[str, Any] = {}
    for key, value in document.items():
        found = known.get(key) or known.get(key.lower())
        if found is not None and value is not None:
            name, reader = found
            before = None if onto is None else getattr(onto, name)
            if isinstance(before, Document) and isinstance(value, dict):
                fields[name] = read(value, type(before), f"{path}{name}.", before)
            else:
                fields[name] = reader(value, f"{kind.__name__}.{path}{_key(name)}")
    return kind(**fields) if onto is None else msgspec.structs.replace(onto, **fields)


def to_plain(document: Document) -> dict[str, Any]:
    """Its fields as dicts and lists in the order in which Go writes them."""
    always, writers = type(document).ALWAYS, _writers(type(document))
    plain = {}
    for field in document.__struct_fields__:
        value = getattr(document, field)
        if field in always or not _empty(value):
            plain[_key(field)] = writers[field](value) if field in writers else _plain(value)
    return plain


def to_json(plain: Any) -> bytes:
    """Compact JSON with Go's escapes."""
    text = msgspec.json.encode(plain)
    for raw, escaped in _RAW_BYTES.items():
        text = text.replace(bytes([raw]), escaped)
    return text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def go_type(value: Any) -> str:
    """Go's word for a JSON value."""
    for kind, name in ((bool, "bool"), (str, "string"), ((int, float), "number"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object"


def wrong_type(value: Any, path: str, wanted: str) -> InvalidJWT:
    """The error for a value of the wrong type at ``path``."""
    number = f" {value}" if wanted.startswith(("int", "uint")) and go_type(value) == "number" else ""
    text = f"json: cannot unmarshal {go_type(value)}{number} into Go struct field {path} of type {wanted}"
    return InvalidJWT(text)


def read_str(value: Any, path: str) -> str:
    """A string as it is. Raises InvalidJWT."""
    if not isinstance(value, str):
        raise wrong_type(value, path, "string")
    return value


def _key(field: str) -> str:
    """``pass`` is a word of Python's."""
    return field.rstrip("_")


def _empty(value: Any) -> bool:
    """What Go leaves out: zeros, nil, lists and maps without elements, but no struct."""
    return not isinstance(value, Document) and not value


def _plain(value: Any) -> Any:
    if isinstance(value, Document):
        return to_plain(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    return value


@functools.cache
def _readers(kind: type[Document]) -> dict[str, tuple[str, Reader]]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        _key(field): (field, _reader(hints[field]))
        for field in kind.__struct_fields__  # the order decides nothing: names differ
    }


@functools.cache
def _writers(kind: type[Document]) -> dict[str, Callable[[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in kind.__struct_fields__:
        for extra in getattr(hints[field], "__metadata__", ()):
            if isinstance(extra, Special):
                found[field] = extra.write
    return found


def _reader(hint: Any) -> Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        extra = hint.__metadata__[0]
        if isinstance(extra, Special):
            return extra.read
        return functools.partial(_read_int, extra)
    if origin in (Union, types.UnionType):
        inner = _reader(next(argument for argument in arguments if argument is not type(None)))
        return inner
    if origin is tuple:
        return functools.partial(_read_list, _reader(arguments[0]), _null(arguments[0]))
    if origin is dict:
        return functools.partial(_read_map, _reader(arguments[1]), _null(arguments[1]))
    if hint is bool:
        return _read_bool
    if isinstance(hint, type) and issubclass(hint, Document):
        return functools.partial(_read_struct, hint)
    return read_str if hint is str else _read_any


def _null(hint: Any) -> Any:
    """What ``null`` is inside a list or map."""
    if type(None) in get_args(hint):
        return None
    if get_origin(hint) is Annotated:
        return 0
    if get_origin(hint) is tuple:
        return ()
    return None if hint is Any else hint()


def _read_int(bounds: Range, value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not bounds.least <= value <= bounds.most:
        raise wrong_type(value, path, bounds.name)
    return value


def _read_bool(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(value, path, "bool")
    return value


def _read_any(value: Any, _path: str) -> Any:
    return value


def _read_list(item: Reader, null: Any, value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise wrong_type(value, path, "[]string" if item is read_str else "array")
    return tuple(null if element is None else item(element, path) for element in value)


def _read_map(item: Reader, null: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, "map")
    return {key: null if element is None else item(element, path) for key, element in value.items()}


def _read_struct(kind: type[Document], value: Any, path: str) -> Document:
    if not isinstance(value, dict):
        raise wrong_type(value, path, f"jwt.{kind.__name__}")
    return read(value, kind, path.partition(".")[2] + ".")


def go_syntax(data: bytes, problem: str) -> str:
    """msgspec's complaint in Go's words, as far as both see the same mistake."""
    found = re.search(r"byte (\d+)", problem)
    if found is None or not data:
        return "unexpected end of JSON input"
    at = min(int(found[1]), len(data) - 1)
    character = ascii(data[at : at + 1].decode("latin-1"))
    for words, after in _AFTER:
        if words in problem:
            return f"invalid character {character} {after}"
    return f"invalid character {character} looking for beginning of value"
