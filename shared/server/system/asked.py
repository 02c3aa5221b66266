"""The options of a request, which are JSON, read as Go reads them and with Go's words for what is wrong.

Keys are known in any case, unknown ones are passed over, ``null`` is as if it were not there. Of several values of the
wrong type the first one is complained about.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from phloem.shared.errors import PhloemError
from phloem.shared.security.go_values import go_syntax, go_type

# By option: its type, as Go calls it.
Fields = Mapping[str, str]
FILTERS: Fields = {
    "server_name": "string",
    "cluster": "string",
    "host": "string",
    "exact_match": "bool",
    "tags": "[]string",
    "domain": "string",
}
_BOUNDS = {
    "int": (-(1 << 63), 1 << 63),
    "uint64": (0, 1 << 64),
    "server.ConnState": (-(1 << 63), 1 << 63),
    "time.Duration": (-(1 << 63), 1 << 63),
}
_JSON_TYPES = {"string": "string", "server.SortOpt": "string", "bool": "bool"}


class BadRequest(PhloemError):
    """A body that cannot be used; ``str`` says why."""


def read(body: bytes, name: str, fields: Fields) -> dict[str, Any]:
    """The options that ``body`` names; ``name`` is what Go calls all of them.

    Raises:
        BadRequest: Not JSON, no object, or a value of the wrong type.
    """
    try:
        document = msgspec.json.decode(body.decode("utf-8", "replace"))
    except RecursionError:
        raise BadRequest("exceeded max depth") from None
    except msgspec.DecodeError as error:
        raise BadRequest(go_syntax(body, str(error))) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadRequest(f"json: cannot unmarshal {go_type(document)} into Go value of type server.{name}")
    found: dict[str, Any] = {}
    for key, value in document.items():
        option = key if key in fields else key.lower()
        if option in fields and value is not None:
            found[option] = _checked(value, fields[option], f"{name}.{option}")
    return found


def _checked(value: Any, wanted: str, path: str) -> Any:
    if wanted == "[]string":
        if not isinstance(value, list):
            raise _wrong(value, path, wanted)
        return [_item(item, f"{path}.{at}") for at, item in enumerate(value)]
    if wanted == "[]uint8":  # bytes, which are strings in JSON
        return _checked(value, "string", path)
    bounds = _BOUNDS.get(wanted)
    if bounds is None:
        if go_type(value) != _JSON_TYPES[wanted]:
            raise _wrong(value, path, wanted)
    elif go_type(value) != "number" or not isinstance(value, int) or not bounds[0] <= value < bounds[1]:
        raise _wrong(value, path, wanted)
    return value


def _item(value: Any, path: str) -> str:
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"json: cannot unmarshal {go_type(value)} into {path} of type string")
    return value or ""


def _wrong(value: Any, path: str, wanted: str) -> BadRequest:
    number = f" {value}" if wanted in _BOUNDS and go_type(value) == "number" else ""
    return BadRequest(
        f"json: cannot unmarshal {go_type(value)}{number} into Go struct field {path} of type {wanted}"
    )
