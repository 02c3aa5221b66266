"""What accounts share, from a file: exports, imports and subject mappings, with nats-server's texts.

Here is checked what one block can say wrong. What is wrong between accounts is ``load_accounts``'s.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from phloem.shared.accounts.definition import Destination, Latency, ResponseType, SubjectMapping
from phloem.shared.accounts.mappings import resolve_mapping
from phloem.shared.errors import ConfigError
from phloem.shared.server.conf.parser import Value
from phloem.shared.server.declare import Declared
from phloem.shared.server.durations import parse_duration
from phloem.shared.server.load_values import Reading, go_type, string
from phloem.shared.server.options_accounts import Export, Import, Source
from phloem.shared.wire.subjects import is_valid
from phloem.shared.wire.transform import BadTransform

RESPONSE_TYPES = {
    "single": ResponseType.SINGLETON,
    "singleton": ResponseType.SINGLETON,
    "stream": ResponseType.STREAM,
    "chunk": ResponseType.CHUNKED,
    "chunked": ResponseType.CHUNKED,
}
RESPONSE_KEYS = ("response", "response_type")
THRESHOLD_KEYS = ("threshold", "response_threshold", "response_max_time", "response_time")
ONCE = ((RESPONSE_KEYS, "response type definition"), (THRESHOLD_KEYS, "response threshold detected"))
SERVICES_ONLY = dict.fromkeys((*RESPONSE_KEYS, *THRESHOLD_KEYS), "response") | {
    "latency": "latency",
    "allow_trace": "allow_trace",
}
ALL = 100  # percent


# --- exports --------------------------------------------------------------------------------------


def response_type(_reading: Reading, _key: str, value: Value, _option: Declared) -> ResponseType:
    """How many replies."""
    if not isinstance(value.data, str):
        raise value.error(f"Expected response type to be string, got {go_type(value.data)}")
    if value.data.lower() not in RESPONSE_TYPES:
        raise value.error(f'Unknown response type: "{value.data}"')
    return RESPONSE_TYPES[value.data.lower()]


def threshold(_reading: Reading, _key: str, value: Value, _option: Declared) -> int:
    """A duration that is always a string."""
    expected = "Expected response threshold to be a parseable time duration, got"
    if not isinstance(value.data, str):
        raise value.error(f"{expected} {go_type(value.data)}")
    try:
        return parse_duration(value.data)
    except ValueError:
        raise value.error(f'{expected} "{value.data}"') from None


def latency(_reading: Reading, _key: str, value: Value, _option: Declared) -> Latency:
    """Measure all requests, with a subject alone."""
    if isinstance(value.data, str):
        return Latency(ALL, value.data)
    if not isinstance(value.data, dict):
        raise value.error(f"Expected latency entry to be a map/struct or string, got {go_type(value.data)}")
    sampling, subject = value.data.get("sampling"), value.data.get("subject")  # as written, as in nats-server
    rate = ALL if sampling is None else _sampling(sampling)
    if subject is None:
        raise value.error("Latency subject required, but missing")
    if not isinstance(subject.data, str):
        raise subject.error("Expected latency subject to be a string, got string")  # sic
    return Latency(rate, subject.data)


def _sampling(value: Value) -> int:
    """1 to 100; 0 for "headers"."""
    match value.data:
        case bool():
            raise value.error("Expected latency sample to be a string or map/struct, got bool")
        case int():
            rate = value.data
        case str() if value.data.strip().lower() == "headers":
            return 0
        case str():
            digits = value.data.removesuffix("%")
            try:
                rate = go_int(digits)
            except ValueError as error:
                raise value.error(f"Failed to parse latency sample: {error}") from None
        case other:
            raise value.error(f"Expected latency sample to be a string or map/struct, got {go_type(other)}")
    if not 1 <= rate <= ALL:
        raise value.error("bad sampling percentage, should be 1-100")
    return rate


def go_int(text: str) -> int:
    """A decimal number as Go's Atoi takes it.

    Raises:
        ValueError: With Go's text.
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def finish_export(value: Value, export: Export) -> Export:
    """Check that a stream has nothing that is for services."""
    entries = _entries(value)
    kinds = [key for key in entries if key in ("stream", "service")]
    if len(kinds) == 2:
        second, first = kinds[1], kinds[0]
        text = f'Detected {second} "{entries[second].data}" but already saw a {first}'
        raise entries[second].error(text)
    for keys, what in ONCE:
        found = [key for key in entries if key in keys]
        if len(found) > 1:
            raise entries[found[1]].error(f"Duplicate {what}")
    if "stream" in entries:
        for key, value_of in entries.items():
            if key in SERVICES_ONLY:
                raise value_of.error(f"Detected {SERVICES_ONLY[key]} directive on non-service")
    return export


# --- imports --------------------------------------------------------------------------------------


def source(reading: Reading, key: str, value: Value, _option: Declared) -> Source:
    """Whose subject is imported."""
    if not isinstance(value.data, dict):
        raise value.error(f"{key.title()} entry should be an account map, got {go_type(value.data)}")
    found = {"account": "", "subject": ""}
    for name, item in value.data.items():
        if name.lower() in found:
            found[name.lower()] = string(reading, name, item)
        elif not item.used:
            reading.errors.append(item.error(f'unknown field "{name}"'))
    if not all(found.values()):
        raise value.error("Expect an account name and a subject")
    return Source(**found)


def finish_import(value: Value, entry: Import) -> Import:
    """Check that it is one thing, and has one place in here."""
    entries = _entries(value)
    kinds = [key for key in entries if key in ("stream", "service")]
    if len(kinds) == 2:
        raise entries[kinds[1]].error(f"Detected {kinds[1]} but already saw a {kinds[0]}")
    if entry.service is not None and "allow_trace" in entries:
        raise entries["allow_trace"].error("Detected allow_trace directive on a non-stream")
    if entry.stream is not None and entry.prefix and "to" in entries:
        raise entries["to"].error("Stream import can not have a 'prefix' and a 'to' property")
    return entry


def same_service_twice(imports: Iterable[tuple[Value, Import]]) -> Iterator[ConfigError]:
    """Imports of one account: a subject in here leads to each other account once."""
    seen = dict[tuple[str, str], Source]()
    for value, entry in imports:
        if entry.service is None:
            continue
        local = entry.to or entry.service.subject
        before = seen.setdefault((local, entry.service.account), entry.service)
        if before is not entry.service:
            yield value.error(
                f'Duplicate service import subject "{local}", previously used in import for account '
                f'"{before.account}", subject "{before.subject}"'
            )


# --- mappings -------------------------------------------------------------------------------------


def mappings(reading: Reading, key: str, value: Value, _option: Declared) -> tuple[SubjectMapping, ...]:
    """Where messages go instead, by the subject that they were published to."""
    if not isinstance(value.data, dict):
        raise value.error(f'"{key}" expects a map, got {go_type(value.data)}')
    found = dict[str, SubjectMapping]()
    for subject, item in value.data.items():
        try:
            if not is_valid(subject):
                raise value.error(f'Subject "{subject}" is not a valid subject')
            found[subject] = SubjectMapping(subject, _destinations(reading, subject, item))
        except ConfigError as error:
            reading.errors.append(error)
    return tuple(found.values())


def _destinations(reading: Reading, subject: str, value: Value) -> tuple[Destination, ...]:
    if isinstance(value.data, str):
        if wrong := mapping_mistake(subject, [Destination(value.data)]):
            raise value.error(f'Error adding mapping for "{subject}" to "{value.data}" : {wrong}')
        return (Destination(value.data),)
    items = value.data if isinstance(value.data, list) else [value]
    found = list[Destination]()
    for item in items:
        try:
            found.append(_destination(reading, item))
        except ConfigError as error:
            reading.errors.append(error)
    if wrong := mapping_mistake(subject, found):
        raise value.error(f'Error adding mapping for "{subject}" : {wrong}')
    return tuple(found)


def _destination(reading: Reading, value: Value) -> Destination:
    if not isinstance(value.data, dict):
        raise value.error("Expected an entry for the mapping destination")
    fields = dict[str, Any]()
    for name, item in value.data.items():
        match name.lower():
            case "dest" | "destination":
                fields["subject"] = string(reading, name, item)
            case "weight":
                fields["weight"] = _weight(item)
            case "cluster":
                fields["cluster"] = string(reading, name, item)
            case _:
                raise item.error(f'Unknown field "{name}" for mapping destination')
    if "weight" not in fields:
        raise value.error(f'Missing weight for mapping destination "{fields.get("subject", "")}"')
    return Destination(**{"subject": "", **fields})


def _weight(value: Value) -> int:
    match value.data:
        case bool():
            raise value.error(f"Unknown entry type for weight of {str(value.data).lower()}\n")
        case str():
            digits = value.data.removesuffix("%")
            try:
                weight = go_int(digits)
            except ValueError:
                raise value.error(f'Invalid weight "{digits}" for mapping destination') from None
        case int():
            weight = value.data
        case other:
            raise value.error(f"Unknown entry type for weight of {other}\n")
    if not 0 <= weight <= ALL:
        raise value.error(f"Invalid weight {weight} for mapping destination")
    return weight


def mapping_mistake(source_subject: str, destinations: Iterable[Destination]) -> str:
    """What is wrong with where a subject is mapped to; empty when nothing is."""
    try:
        resolve_mapping(SubjectMapping(source_subject, tuple(destinations)))
    except BadTransform as error:
        return str(error)
    return ""


def _entries(value: Value) -> dict[str, Value]:
    """By key in lower case."""
    assert isinstance(value.data, dict)
    return {key.lower(): item for key, item in value.data.items()}
