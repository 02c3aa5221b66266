"""From a value of a file to a value of a field: one converter for each ``Kind`` without structure.

A converter gets the key as written, the value and the declaration, and returns what goes into the struct.
It raises ``ConfigError`` for the value; a warning goes to the ``Reading``.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.leaf.compression import AUTO, DEFAULT, OFF, Compression, normal
from phloem.shared.server.conf.parser import Data, Value
from phloem.shared.server.declare import Declared, Kind
from phloem.shared.server.durations import format_duration, parse_duration

SECOND_NS = limits.SECOND_NS
CONNECTION_TYPES = ("STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS")
LINK_SCHEMES = ("nats", "nats-leaf", "leaf", "tls")
LINK_SCHEMES_MISSING = ("ws", "wss")
STRINGS_CALLED = {  # how nats-server calls them when they are no strings
    "trusted_keys": "trusted",
    "resolver_pinned_accounts": "resolver_pinned_accounts",
    "allowed_connection_types": "allowed connection types",
}
LEAF_MIN_VERSION = (2, 8, 0)

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[^:\[\]]*)")
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[-+].*)?")


class Reading:
    """What was found wrong, odd or idle while reading one file; reading goes on, so that all is told at once."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []
        self.warnings: list[str] = []
        self.notices: list[str] = []

    def warn(self, value: Value, text: str) -> None:
        """Remember a warning about a value."""
        self.warnings.append(str(value.error(text)))


Converter = Callable[[Reading, str, Value, Declared], Any]


def describe(data: Data) -> str:
    """A value as a message names it: its type and, if it is short, itself."""
    match data:
        case bool():
            return f"the bool {str(data).lower()}"
        case int() | float():
            return f"the number {data}"
        case str():
            return f'the string "{data}"' if len(data) <= 32 else "a string"
        case list():
            return "an array"
        case dict():
            return "a map"
        case _:
            return "a date"


def last(value: Value) -> Value:
    """The last entry of a block or an array, where nats-server says that the whole is wrong; else the value."""
    match value.data:
        case dict() if value.data:
            return next(reversed(value.data.values()))
        case list() if value.data:
            return value.data[-1]
        case _:
            return value


def go_type(data: Data) -> str:
    """A value's type as nats-server's messages name it."""
    match data:
        case bool():
            return "bool"
        case int():
            return "int64"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
        case _:
            return "time.Time"


def wrong_type(key: str, value: Value, expected: str) -> ConfigError:
    """The error for a value of another type than the key takes."""
    hint = "; quote it" if expected == "string" and isinstance(value.data, bool | int | float) else ""
    return value.error(f'"{key}" expects {expected}, got {describe(value.data)}{hint}')


def string(_reading: Reading, key: str, value: Value, _option: Declared | None = None) -> str:
    """A string that is UTF-8."""
    if not isinstance(value.data, str):
        raise wrong_type(key, value, "string")
    if not value.data.isascii() and value.data.encode("utf-8", "surrogateescape") != value.data.encode(
        "utf-8", "replace"
    ):
        raise value.error(f'"{key}" is not UTF-8')
    return value.data


def boolean(_reading: Reading, key: str, value: Value, option: Declared) -> bool:
    """true or false."""
    if not isinstance(value.data, bool):
        raise wrong_type(key, value, option.kind.value)
    return value.data


def integer(_reading: Reading, key: str, value: Value, option: Declared) -> int:
    """A count or a size, within the bounds of its declaration."""
    if not isinstance(value.data, int) or isinstance(value.data, bool):
        raise wrong_type(key, value, option.kind.value)
    if option.opt.most is not None and value.data > option.opt.most:
        raise value.error(f"{key} value is too big")
    if option.opt.least is not None and value.data < option.opt.least:
        raise value.error(f"{key} value must be {option.opt.least} or more")
    return value.data


def duration(reading: Reading, key: str, value: Value, option: Declared) -> int:
    """A duration string; an integer is seconds, with a warning."""
    if isinstance(value.data, int) and not isinstance(value.data, bool):
        name = option.key
        reading.warn(value, f'invalid use of field "{name}": {name} should be converted to a duration')
        return value.data * SECOND_NS
    if not isinstance(value.data, str):
        raise wrong_type(key, value, option.kind.value)
    try:
        return parse_duration(value.data)
    except ValueError as error:
        raise value.error(f"error parsing {key}: {error}") from None


def seconds(reading: Reading, key: str, value: Value, option: Declared) -> int:
    """Seconds as a number, or a duration string."""
    match value.data:
        case bool():
            raise wrong_type(key, value, option.kind.value)
        case int() | float():
            ns = round(value.data * SECOND_NS)
        case str():
            ns = duration(reading, key, value, option)
        case _:
            raise wrong_type(key, value, option.kind.value)
    if ns > limits.AUTH_TIMEOUT_WARN_NS:
        text = f"timeout of {format_duration(ns)} is high, consider keeping it under 60 seconds"
        reading.warn(value, f'invalid use of field "{key}": {text}')
    return ns


def sync(reading: Reading, key: str, value: Value, option: Declared) -> int:
    """0 for "always", else an interval."""
    if isinstance(value.data, str) and value.data.lower() == "always":
        return 0
    return duration(reading, key, value, option)


def strings(reading: Reading, key: str, value: Value, option: Declared) -> tuple[str, ...]:
    """One string or an array of strings."""
    if isinstance(value.data, str):
        return (string(reading, key, value),)
    name = STRINGS_CALLED.get(option.field)
    if not isinstance(value.data, list):
        if name is not None:
            raise value.error(f"error parsing {name}: unsupported type {go_type(value.data)}")
        raise wrong_type(key, value, option.kind.value)
    for item in value.data:
        if name is not None and not isinstance(item.data, str):
            raise item.error(f"error parsing {name}: unsupported type in array {go_type(item.data)}")
    return tuple(string(reading, key, item) for item in value.data)


def array(reading: Reading, key: str, value: Value, _option: Declared) -> tuple[str, ...]:
    """An array of strings."""
    if not isinstance(value.data, list):
        name = {"allowed_accounts": "allowed accounts"}.get(key.lower(), key)
        raise value.error(f"Expected {name} field to be an array, got {go_type(value.data)}")
    return tuple(string(reading, key, item) for item in value.data)


def string_map(reading: Reading, key: str, value: Value, option: Declared) -> dict[str, str]:
    """A map from any key to strings."""
    if not isinstance(value.data, dict):
        raise wrong_type(key, value, option.kind.value)
    return {name: string(reading, name, item) for name, item in value.data.items()}


def flags(_reading: Reading, key: str, value: Value, _option: Declared) -> dict[str, bool]:
    """A map from any key to true or false, with nats-server's words for what is neither."""
    if not isinstance(value.data, dict):
        raise value.error(f"error parsing feature flags: unsupported type {go_type(value.data)}")
    for name, item in value.data.items():
        if not isinstance(item.data, bool):
            raise item.error(f'error parsing feature flag "{name}": expected bool, got {go_type(item.data)}')
    return {name: bool(item.data) for name, item in value.data.items()}


def connection_types(reading: Reading, key: str, value: Value, option: Declared) -> tuple[str, ...]:
    """Known connection types in upper case."""
    names = [name.upper() for name in strings(reading, key, value, option)]
    if unknown := [name for name in names if name not in CONNECTION_TYPES]:
        raise value.error("invalid connection types [" + " ".join(f'"{name}"' for name in unknown) + "]")
    return tuple(names)


def choice(reading: Reading, key: str, value: Value, option: Declared) -> str:
    """One of the declared words; on and off, which a file reads as true and false, may be among them."""
    words = option.opt.choices.split()
    if isinstance(value.data, bool) and {"on", "off"} <= set(words):
        return "on" if value.data else "off"
    word = string(reading, key, value)
    if word not in words:
        raise value.error(f'"{key}" expects one of {", ".join(words)}, got "{word}"')
    return word


def cipher(reading: Reading, key: str, value: Value, _option: Declared) -> str:
    """Of what is stored; nats-server knows one of them by two names."""
    word = string(reading, key, value)
    known = {"chacha": "chacha", "chachapoly": "chacha", "aes": "aes"}.get(word.lower())
    if known is None:
        raise value.error(f'Unknown cipher type: "{word}"')
    return known


def file_mode(reading: Reading, key: str, value: Value, _option: Declared) -> int:
    """Permissions in octal; quoted, since a bare 0660 would be the decimal number."""
    text = string(reading, key, value)
    if not re.fullmatch("0?[0-7]{3}", text):
        raise value.error(f'"{key}" expects an octal mode such as "0660", got "{text}"')
    return int(text, 8)


def version(reading: Reading, key: str, value: Value, _option: Declared) -> str:
    """A semantic version that leafnodes can have."""
    text = string(reading, key, value)
    match = _VERSION.fullmatch(text)
    if match is None:
        raise value.error(f"invalid leafnode's minimum version: invalid semver string {text!r}")
    if tuple(map(int, match.groups())) < LEAF_MIN_VERSION:
        raise value.error("the minimum version should be at least 2.8.0")
    return text


def compression(reading: Reading, key: str, value: Value, option: Declared) -> Compression:
    """A mode, a bool, or a block of mode and thresholds."""
    if isinstance(value.data, bool):
        return DEFAULT if value.data else Compression(OFF, ())
    if isinstance(value.data, str):
        return _compression(value, string(reading, key, value), ())
    if not isinstance(value.data, dict):
        raise wrong_type(key, value, option.kind.value)
    mode, thresholds_ns = AUTO, tuple[int, ...]()
    for name, item in value.data.items():
        if name.lower() == "mode":
            mode = string(reading, name, item)
            _compression(item, mode, ())
        elif name.lower() in ("rtt_thresholds", "thresholds", "rtts", "rtt"):
            thresholds_ns = _thresholds(reading, name, item)
        elif not item.used:
            raise item.error(f'unknown field "{name}"')
    return _compression(value, mode, thresholds_ns)


def _compression(value: Value, mode: str, thresholds_ns: tuple[int, ...]) -> Compression:
    try:
        return normal(mode, thresholds_ns)
    except ValueError as error:
        raise value.error(str(error)) from None


def _thresholds(reading: Reading, key: str, value: Value) -> tuple[int, ...]:
    if not isinstance(value.data, list):
        raise wrong_type(key, value, "array of durations")
    found = []
    for item in value.data:
        try:
            found.append(parse_duration(string(reading, key, item)))
        except ValueError as error:
            raise item.error(str(error)) from None
    return tuple(found)


def urls(reading: Reading, key: str, value: Value, _option: Declared) -> tuple[str, ...]:
    """Addresses of hubs; an entry that is there twice counts once, with a warning."""
    items = value.data if isinstance(value.data, list) else [value]
    found = dict[str, None]()
    for item in items:
        url = _link_url(item, string(reading, key, item).strip())
        if url in found:
            reading.warn(item, f'invalid use of field "{key}": Duplicate leafnode entry detected')
        found[url] = None
    return tuple(found)


def _link_url(value: Value, url: str) -> str:
    shown = re.sub(r"//[^/@]*@", "//[REDACTED]@", url)
    try:
        parts = urlsplit(url)
        reachable = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        reachable = None
    if not reachable:
        raise value.error(f'error parsing leafnode url ["{shown}"]')
    if parts.scheme in LINK_SCHEMES_MISSING:
        raise value.error(f'leafnode url ["{shown}"]: phloem cannot link over {parts.scheme} yet')
    if parts.scheme not in LINK_SCHEMES:
        raise value.error(f'leafnode url ["{shown}"]: the scheme must be one of {", ".join(LINK_SCHEMES)}')
    return url


def address(_reading: Reading, key: str, value: Value) -> tuple[str | None, int]:
    """Host and port of ``"host:port"``; an integer is only a port, and the host stays what it is."""
    if isinstance(value.data, int) and not isinstance(value.data, bool):
        return None, value.data
    if not isinstance(value.data, str):
        raise value.error(f"expected port or host:port, got {describe(value.data)}")
    match = _ADDRESS.fullmatch(value.data)
    if match is None:
        raise value.error(f'could not parse address string "{value.data}"')
    if not re.fullmatch(r"[+-]?\d+", match["port"], re.ASCII):
        raise value.error(f'could not parse port "{match["port"]}"')
    host = match["host"] if match["six"] is None else match["six"]
    if match["six"] is not None and not _is_ipv6(host):
        raise value.error(f'could not parse address string "{value.data}"')
    return host, int(match["port"])


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def typed(_reading: Reading, key: str, value: Value, option: Declared) -> str | dict[str, Any]:
    """A name or its settings, as they are: the product that has the option knows what may be in them."""
    if not isinstance(value.data, str | dict):
        raise wrong_type(key, value, option.kind.value)
    return _plain(value)  # type: ignore[no-any-return]


def settings(_reading: Reading, key: str, value: Value, option: Declared) -> dict[str, Any]:
    """Settings, as they are."""
    if not isinstance(value.data, dict):
        raise wrong_type(key, value, option.kind.value)
    return _plain(value)  # type: ignore[no-any-return]


def settings_list(_reading: Reading, key: str, value: Value, option: Declared) -> tuple[dict[str, Any], ...]:
    """Several of them, or one."""
    items = value.data if isinstance(value.data, list) else [value]
    if not all(isinstance(item.data, dict) for item in items):
        raise wrong_type(key, value, option.kind.value)
    return tuple(_plain(item) for item in items)


def _plain(value: Value) -> Any:
    if isinstance(value.data, dict):
        return {name: _plain(item) for name, item in value.data.items()}
    if isinstance(value.data, list):
        return [_plain(item) for item in value.data]
    return value.data


CONVERTERS: dict[Kind, Converter] = {
    Kind.TYPED: typed,
    Kind.SETTINGS: settings,
    Kind.SETTINGS_LIST: settings_list,
    Kind.STRING: string,
    Kind.BOOL: boolean,
    Kind.INT: integer,
    Kind.SIZE: integer,
    Kind.DURATION: duration,
    Kind.SECONDS: seconds,
    Kind.STRINGS: strings,
    Kind.STRING_MAP: string_map,
    Kind.FLAGS: flags,
    Kind.ARRAY: array,
    Kind.CONNECTION_TYPES: connection_types,
    Kind.COMPRESSION: compression,
    Kind.URLS: urls,
    Kind.VERSION: version,
    Kind.FILE_MODE: file_mode,
    Kind.CHOICE: choice,
    Kind.CIPHER: cipher,
    Kind.SYNC: sync,
}
