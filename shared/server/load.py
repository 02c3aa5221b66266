"""From a configuration file to ``Options``: walks the declarations, collects every mistake, then merges.

Order of precedence: defaults, the file, the flags. ``load`` checks what one file can say wrong; what only
makes sense for a server that starts is ``validate``'s (nats-server's ``-t`` does the same split).
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.server import load_accounts, load_auth, load_crossings, load_tls, load_trust
from phloem.shared.server.conf import Value, config_digest, from_plain, parse_file
from phloem.shared.server.declare import Declared, Kind, declared
from phloem.shared.server.durations import format_duration
from phloem.shared.server.load_values import (
    CONVERTERS,
    Converter,
    Reading,
    address,
    describe,
    go_type,
    string,
    wrong_type,
)
from phloem.shared.server.no_effect import NO_EFFECT, notice
from phloem.shared.server.options import Options
from phloem.shared.server.options_accounts import Export, Import
from phloem.shared.server.options_auth import Account, Authorization, Permissions, User
from phloem.shared.server.options_jetstream import JetStream
from phloem.shared.server.options_leafnodes import LeafAuthorization, Remote
from phloem.shared.server.options_phloem import Serial
from phloem.shared.server.options_tls import TLS
from phloem.shared.server.options_trust import AuthCallout, Proxy, Resolver
from phloem.shared.server.unsupported import UNSUPPORTED, Unsupported, check
from phloem.shared.wire.subjects import is_valid

Fields = dict[str, Any]  # field name of a struct to its value; for blocks, the struct


class ConfigErrors(ConfigError):
    """Several mistakes in one file; ``errors`` in the order of the file."""

    def __init__(self, errors: list[ConfigError]) -> None:
        first = errors[0]
        self.errors = tuple(errors)
        super().__init__(first.text, file=first.file, line=first.line, column=first.column)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class Loaded(NamedTuple):
    """What a file says: the fields it sets, its digest, what is odd about it and what has no effect."""

    path: str
    fields: Fields
    digest: str
    warnings: tuple[str, ...]
    notices: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a file.

    Raises:
        ConfigError: For the only mistake, or ``ConfigErrors`` for several.
    """
    return read(parse_file(path), str(path))


def load_mapping(config: Mapping[str, Any]) -> Loaded:
    """The same for a mapping with a file's keys and values, such as ``{"port": -1}``.

    Raises:
        ConfigError: As ``load``.
    """
    return read(from_plain(config), "")


def read(top: dict[str, Value], path: str = "") -> Loaded:
    """The same for what the grammar made of a text.

    Raises:
        ConfigError: As ``load``.
    """
    reading = Reading()
    if not top and path:
        reading.warnings.append(f"{path}: config has no values or is empty")
    fields = _read_entries(reading, Options, top)
    reading.errors += _said_twice(top, fields)
    reading.errors += load_accounts.mistakes(top, fields)
    if not reading.errors:  # else what is missing may be only a consequence
        reading.errors += load_accounts.mistakes_between(top, fields)
    if reading.errors:
        raise reading.errors[0] if len(reading.errors) == 1 else ConfigErrors(reading.errors)
    return Loaded(path, fields, config_digest(top), tuple(reading.warnings), tuple(reading.notices))


def merge(loaded: Loaded | None, flags: Mapping[tuple[str, ...], Any]) -> Options:
    """Options from a file, if there is one, and flags by path of field names, which win."""
    fields = dict(loaded.fields) if loaded else {}
    said: dict[tuple[str, ...], Any] = {}
    for name, path in Options.INSIDE.items():
        if text := fields.pop(name, ""):
            said[path] = text
    for (name, *rest), value in sorted((said | dict(flags)).items(), key=lambda flag: len(flag[0])):
        if rest:
            block = fields.get(name, getattr(Options(), name))
            if block is not None:  # else it is switched off
                fields[name] = msgspec.structs.replace(block, **{rest[0]: value})
        elif isinstance(value, JetStream) and isinstance(fields.get(name), JetStream):
            fields[name] = msgspec.structs.replace(
                fields[name], enabled=True, disabled=False
            )  # the rest: the file
        else:
            fields[name] = value
    if fields.get("trace_verbose") or fields.get("trace_headers"):
        fields["trace"] = True
    if fields.get("max_connections") == 0:
        fields["max_connections"] = -1
    for option in declared(Options):
        if option.opt.empty_is_default and not fields.get(option.field, True):
            del fields[option.field]
    explicit = frozenset(fields)
    fields |= load_trust.consequences(fields)
    if loaded:
        fields |= {"config_file": loaded.path, "config_digest": loaded.digest, "notices": loaded.notices}
    return Options(**fields, explicit=explicit)


def as_options(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> Options:
    """Options from a file's path or from a mapping with the file's keys."""
    if isinstance(config, Mapping):
        return merge(load_mapping(config), {})
    return merge(load(config) if config else None, {})


# --- reading structs ------------------------------------------------------------------------------


def _read_entries(reading: Reading, struct: type[msgspec.Struct], entries: Mapping[str, Value]) -> Fields:
    """The fields that a block sets. Mistakes go to ``reading``."""
    options = {key: option for option in declared(struct) for key in option.keys}
    idle = {row.key: row for row in NO_EFFECT.get(struct, ())}
    missing = {key: row for row in UNSUPPORTED.get(struct, ()) for key in row.keys.split()}
    addresses: Mapping[str, tuple[str, str]] = getattr(struct, "ADDRESSES", {})
    inside: Mapping[str, tuple[str, str]] = getattr(struct, "INSIDE", {})
    fields: Fields = {}
    for key, value in entries.items():
        name = key.lower()
        try:
            if name in addresses:
                host, port = address(reading, key, value)
                fields[addresses[name][1]] = port
                if host is not None:
                    fields[addresses[name][0]] = host
            elif name in inside:
                fields[name] = string(reading, key, value)
            elif name in options:
                _read_option(reading, struct, fields, key, value, options[name])
            elif name in idle:
                reading.notices.append(notice(idle[name], key, value))
            elif name in missing:
                _read_unsupported(reading, key, value, missing[name])
            elif not value.used:
                where = getattr(struct, "UNKNOWN", "")
                raise value.error(f'Unknown field "{key}" {where}' if where else f'unknown field "{key}"')
        except ConfigError as error:
            reading.errors.append(error)
    return fields


def _read_option(
    reading: Reading,
    struct: type[msgspec.Struct],
    fields: Fields,
    key: str,
    value: Value,
    option: Declared,
) -> None:
    result = _convert(reading, key, value, option)
    _check(struct, key, value, option, result)
    if result or not option.opt.empty_is_default:
        fields[option.field] = result


def _said_twice(top: Mapping[str, Value], fields: Fields) -> Iterator[ConfigError]:
    """What is said at the top by two names, or at the top and in its block as well."""
    seen: set[tuple[str, str]] = set()
    for key, value in top.items():
        path = Options.INSIDE.get(key.lower())
        if path is None or not fields.get(key.lower()):
            continue
        block = fields.get(path[0])
        if path in seen or (block is not None and getattr(block, path[1])):
            yield value.error(f"Duplicate '{path[1]}' configuration")
        seen.add(path)


def _read_unsupported(reading: Reading, key: str, value: Value, row: Unsupported) -> None:
    reading.errors.extend(check(row, key, value))


def _convert(reading: Reading, key: str, value: Value, option: Declared) -> Any:
    match option.kind:
        case Kind.BLOCK:
            return _read_block(reading, key, value, option)
        case Kind.SWITCHED:
            return _read_switched(reading, key, value, option)
        case Kind.BLOCKS:
            return _read_blocks(reading, key, value, option)
        case Kind.NAMED_BLOCKS:
            return _read_named_blocks(reading, key, value, option)
        case Kind.ACCOUNTS:
            return _read_accounts(reading, key, value, option)
        case Kind.RESOLVER if isinstance(value.data, dict):
            return _read_block(reading, key, value, option)
        case kind:
            return _CONVERTERS[kind](reading, key, value, option)


def _struct_of(option: Declared) -> type[msgspec.Struct]:
    assert option.struct is not None, option.field
    return option.struct


def _read_block(reading: Reading, key: str, value: Value, option: Declared) -> msgspec.Struct | None:
    struct = _struct_of(option)
    if struct is TLS:
        return load_tls.read(reading, key, value)
    if not isinstance(value.data, dict):
        what = getattr(struct, "EXPECTED", f"Expected map to define {key}")
        raise value.error(f"{what}, got {go_type(value.data)}")
    before = len(reading.errors)
    block = struct(**_read_entries(reading, struct, value.data))
    return _finish(value, block) if len(reading.errors) == before else block


def _read_switched(reading: Reading, key: str, value: Value, option: Declared) -> msgspec.Struct | None:
    """A block, or a word that switches it on or off with all defaults."""
    if isinstance(value.data, dict):
        return _read_block(reading, key, value, option)
    word = value.data if isinstance(value.data, bool) else str(value.data).lower()
    if word in (True, "enabled", "enable"):
        return _struct_of(option)()
    if word in (False, "disabled", "disable"):
        return None
    raise wrong_type(key, value, option.kind.value)


def _read_blocks(reading: Reading, key: str, value: Value, option: Declared) -> tuple[msgspec.Struct, ...]:
    struct = _struct_of(option)
    if not isinstance(value.data, list):
        what = getattr(struct, "ARRAY", f"Expected {key} field to be an array")
        raise value.error(f"{what}, got {go_type(value.data)}")
    blocks, values = list[Any](), list[Value]()
    for item in value.data:
        if not isinstance(item.data, dict):
            what = getattr(struct, "ITEM", f"Expected {key} entry to be a map/struct")
            raise item.error(f"{what}, got {go_type(item.data)}")
        before = len(reading.errors)
        fields = _read_entries(reading, struct, item.data)
        if len(reading.errors) == before:  # else what is missing is only a consequence
            blocks.append(_finish(item, struct(**fields)))
            values.append(item)
    _check_unique_remotes(value, blocks)
    if struct is Import:
        reading.errors += load_crossings.same_service_twice(zip(values, blocks, strict=True))
    return tuple(blocks)


def _read_named_blocks(
    reading: Reading, key: str, value: Value, option: Declared
) -> tuple[msgspec.Struct, ...]:
    struct = _struct_of(option)
    if not isinstance(value.data, dict):
        raise wrong_type(key, value, option.kind.value)
    blocks = list[msgspec.Struct]()
    for name, item in value.data.items():
        if not isinstance(item.data, dict):
            raise item.error(
                f'"{key}" takes blocks, as {key} {{ {name} {{ ... }} }}, got {describe(item.data)}'
            )
        blocks += _read_named_block(reading, struct, name, item, item.data)
    return tuple(blocks)


def _read_named_block(
    reading: Reading, struct: type[msgspec.Struct], name: str, value: Value, entries: Mapping[str, Value]
) -> list[msgspec.Struct]:
    """The block, unless something in it is wrong."""
    before = len(reading.errors)
    fields = _read_entries(reading, struct, entries)
    return [_finish(value, struct(name=name, **fields))] if len(reading.errors) == before else []


def _read_accounts(reading: Reading, key: str, value: Value, option: Declared) -> tuple[msgspec.Struct, ...]:
    """Blocks by name, or names of accounts without users."""
    if isinstance(value.data, list):
        return load_accounts.named(reading, key, value)
    if not isinstance(value.data, dict):
        raise wrong_type(key, value, option.kind.value)
    blocks = list[msgspec.Struct]()
    for name, item, entries in load_accounts.blocks(reading, value.data):
        blocks += _read_named_block(reading, _struct_of(option), name, item, entries)
    return tuple(blocks)


def _finish(value: Value, block: msgspec.Struct) -> msgspec.Struct:
    """Rules between the fields of one block."""
    match block:
        case Permissions():
            return load_auth.finish_permissions(block)
        case Authorization():
            return load_auth.finish_authorization(value, block)
        case Account():
            return load_accounts.finish(block)
        case LeafAuthorization():
            return load_auth.finish_leaf_authorization(value, block)
        case User():
            load_auth.check_user(value, block)
        case Export():
            return load_crossings.finish_export(value, block)
        case Import():
            return load_crossings.finish_import(value, block)
        case Resolver():
            return load_trust.finish_resolver(value, block)
        case AuthCallout():
            return load_trust.finish_callout(value, block)
        case Remote():
            load_auth.check_remote(value, block)
        case Serial():
            _check_serial(value, block)
    return block


def _check_serial(value: Value, serial: Serial) -> None:
    if not serial.device:
        raise value.error(f'serial "{serial.name}" needs a device')
    if not (serial.subject or serial.command_subject or serial.request_subject):
        raise value.error(f'serial "{serial.name}" needs a subject, a command_subject or a request_subject')
    for subject in (serial.subject, serial.command_subject, serial.request_subject):
        if subject and not is_valid(subject):
            raise value.error(f'subject "{subject}" is not a valid subject')
    if "*" in serial.subject.split(".") or ">" in serial.subject:
        raise value.error(f'serial "{serial.name}" cannot publish to "{serial.subject}", it has a wildcard')
    if not 0 < serial.retry_min_ns <= serial.retry_max_ns:
        raise value.error(f'serial "{serial.name}": retry_min must be above 0 and not above retry_max')


def _check_unique_remotes(value: Value, blocks: list[msgspec.Struct]) -> None:
    seen = set[tuple[tuple[str, ...], str]]()
    for block in blocks:
        if isinstance(block, Remote):
            name = (block.urls, block.account or "$G")
            if name in seen:
                raise value.error(f'duplicate remote of account "{name[1]}"')
            seen.add(name)


def _check(struct: type[msgspec.Struct], key: str, value: Value, option: Declared, result: Any) -> None:
    """Rules of single options that are not just a type and bounds."""
    match option.field:
        case "server_name" if " " in result:
            raise value.error("server name cannot contain spaces")
        case "max_sub_tokens" if result <= 0:
            raise value.error(f"{key} value can not be negative")
        case "lame_duck_duration_ns" if result < limits.LAME_DUCK_DURATION_MIN_NS:
            raise value.error(f"invalid {key} of {format_duration(result)}, minimum is 30 seconds")
        case "lame_duck_grace_period_ns" if result < 0:
            raise value.error(f"invalid {key}, needs to be positive")
        case "trusted_keys":
            load_trust.check_trusted_keys(value, result)
        case "issuer" | "xkey":
            load_trust.check_callout_key(value, option.field, result)
        case "key" if struct is Proxy:
            load_trust.check_proxy_key(value, result)
        case "nkey":
            load_auth.check_nkey(value, struct, result)


_CONVERTERS: dict[Kind, Converter] = CONVERTERS | {
    Kind.SUBJECTS: load_auth.subjects,
    Kind.SUBJECT_PERMISSION: load_auth.subject_permission,
    Kind.RESPONSES: load_auth.responses,
    Kind.MAPPINGS: load_crossings.mappings,
    Kind.SOURCE: load_crossings.source,
    Kind.LATENCY: load_crossings.latency,
    Kind.RESPONSE_TYPE: load_crossings.response_type,
    Kind.THRESHOLD: load_crossings.threshold,
    Kind.DURATION_TEXT: load_trust.duration_text,
    Kind.OPERATORS: load_trust.operators,
    Kind.PRELOAD: load_trust.preload,
    Kind.RESOLVER: load_trust.resolver,
    Kind.RESOLVER_TYPE: load_trust.resolver_type,
}
