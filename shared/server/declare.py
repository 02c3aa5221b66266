"""How an option is declared, and how the rest of the code reads the declarations.

An option is one annotated field of a ``msgspec.Struct``::

    ping_interval_ns: Annotated[Duration, Opt("Time between PINGs.", reload=True)] = limits.PING_INTERVAL_NS

From that one line come the key in the file (``ping_interval``), its aliases, the flag, ``--help``, the
default, the example file and the row in docs/configuration.md. Nothing else names an option.

Rules: a duration's field ends in ``_ns`` and its key does not; a field whose ``Opt`` has ``key=""`` cannot
be written in a file; a field without ``Opt`` is computed by the loader.
"""

import enum
import functools
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec


class Kind(enum.Enum):
    """What an option's value looks like in a file. The value is how the documentation names it."""

    STRING = "string"
    BOOL = "true or false"
    INT = "integer"
    SIZE = "size, as 64MB"
    DURATION = 'duration, as "2m"'
    SECONDS = 'seconds or duration, as 2 or "2s"'
    STRINGS = "string or array of strings"
    STRING_MAP = "map of strings"
    FLAGS = "map of names to true or false"
    ARRAY = "array of strings"
    SUBJECTS = "subject or array of subjects"
    SUBJECT_PERMISSION = "subject, array, or { allow, deny }"
    RESPONSES = "true, or { max, expires }"
    CONNECTION_TYPES = "array of connection types"
    COMPRESSION = "mode, true or false, or { mode, rtt_thresholds }"
    URLS = "URL or array of URLs"
    VERSION = "version, as 2.8.0"
    MAPPINGS = "map of subjects to a subject, { destination, weight, cluster }, or an array of those"
    SOURCE = "{ account, subject }"
    LATENCY = "subject, or { sampling, subject }"
    RESPONSE_TYPE = "single, stream or chunked"
    THRESHOLD = 'duration, as "2m", always quoted'
    DURATION_TEXT = 'duration, as "1m"'
    OPERATORS = "path or JWT, or array of those"
    PRELOAD = "map of account keys to JWTs"
    RESOLVER = "MEMORY, URL(https://...), or block"
    RESOLVER_TYPE = "full, cache or memory"
    SYNC = '"always" or a duration, as "2s"'
    SWITCHED = "true or false, or block"
    FILE_MODE = 'octal string, as "0660"'
    CHOICE = "one word of a list"
    TYPED = "name, or { type: name, and its settings }"
    SETTINGS = "block of settings"
    SETTINGS_LIST = "array of blocks of settings"
    HANDSHAKE_FIRST = 'true, false, "auto" or a duration'
    CIPHER = "chacha or aes"
    BLOCK = "block"
    BLOCKS = "array of blocks"
    NAMED_BLOCKS = "block of named blocks"
    ACCOUNTS = "block of named blocks, or array of names"


TIMES = (Kind.DURATION, Kind.SECONDS, Kind.SYNC, Kind.THRESHOLD, Kind.DURATION_TEXT)

Size = Annotated[int, Kind.SIZE]
Duration = Annotated[int, Kind.DURATION]
Seconds = Annotated[int, Kind.SECONDS]
_BY_TYPE: dict[Any, Kind] = {
    str: Kind.STRING,
    bool: Kind.BOOL,
    int: Kind.INT,
    tuple[str, ...]: Kind.STRINGS,
    dict[str, str]: Kind.STRING_MAP,
}


class Opt(NamedTuple):
    """What a declaration says beyond name, type and default."""

    doc: str
    aliases: str = ""  # further keys, space separated
    flags: str = ""  # without dashes, space separated, as nats-server spells them
    reload: bool = False  # takes effect on reload; otherwise a change needs a restart
    key: str | None = None  # when the file's key is not the field's name; "" for none
    most: int | None = None  # larger is "<key> value is too big"
    least: int | None = None
    empty_is_default: bool = False  # 0 or "" means the default, as nats-server has it
    choices: str = ""  # space separated
    example: str = ""  # shown instead of the default in the example file
    value: str = ""  # placeholder of the flag's value in --help


class Declared(NamedTuple):
    """One option as everything but the loader's result sees it."""

    field: str
    key: str
    kind: Kind
    opt: Opt
    default: Any
    struct: type[msgspec.Struct] | None  # of a block

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that means this option; the first is the one to write."""
        return (self.key, *self.opt.aliases.split()) if self.key else ()


def declared(struct: type[msgspec.Struct]) -> tuple[Declared, ...]:
    """The options of one struct in the order of declaration."""
    return _declarations(struct)


@functools.cache
def _declarations(struct: type[msgspec.Struct]) -> tuple[Declared, ...]:
    hints = typing.get_type_hints(struct, include_extras=True)
    return tuple(
        _declared(field, hints[field.name])
        for field in msgspec.structs.fields(struct)
        if _opt(hints[field.name])
    )


def walk(
    struct: type[msgspec.Struct], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Declared]]:
    """Every option that is not inside an array, with the field names that lead to it."""
    for option in declared(struct):
        here = (*path, option.field)
        yield here, option
        if option.kind in (Kind.BLOCK, Kind.SWITCHED) and option.struct:
            yield from walk(option.struct, here)


def _opt(hint: Any) -> Opt | None:
    return next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Opt)), None)


def _declared(field: msgspec.structs.FieldInfo, hint: Any) -> Declared:
    opt = _opt(hint)
    assert opt
    base, *extras = get_args(hint)
    kind = next((extra for extra in extras if isinstance(extra, Kind)), None)
    struct = _struct_of(base)
    if kind is None:
        kind = _BY_TYPE[base] if struct is None else Kind.BLOCKS if get_origin(base) is tuple else Kind.BLOCK
    assert (kind in TIMES) == field.name.endswith("_ns"), field.name
    key = field.name.removesuffix("_ns") if opt.key is None else opt.key
    default = field.default if field.default is not msgspec.NODEFAULT else None
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return Declared(field.name, key, kind, opt, default, struct)


def _struct_of(base: Any) -> type[msgspec.Struct] | None:
    """The struct in ``X``, ``X | None`` or ``tuple[X, ...]``."""
    candidates = get_args(base) if get_origin(base) in (tuple, types.UnionType, typing.Union) else (base,)
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
