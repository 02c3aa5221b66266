"""Decoding JSON the way the peers do (Go's ``encoding/json``).

Keys match in any case, unknown keys are ignored, ``null`` leaves the default, a value of the wrong type is an
error for the whole document (wire 1.1).
"""

from typing import Any, TypeVar

import msgspec

from phloem.shared.errors import MalformedJSON

T = TypeVar("T", bound=msgspec.Struct)


def decode(body: bytes, kind: type[T], onto: T | None = None) -> T:
    """``body`` as a ``kind``; what it does not name is as in ``onto``.

    Raises:
        MalformedJSON: No JSON object, or a value of the wrong type.
    """
    try:
        document = msgspec.json.decode(body.decode("utf-8", "replace"))
        if document is None:
            document = {}
        if not isinstance(document, dict):
            raise MalformedJSON
        known = {name.lower(): name for name in kind.__struct_encode_fields__}
        fields: dict[str, Any] = {} if onto is None else msgspec.to_builtins(onto)
        for key, value in document.items():
            name = known.get(key.lower())
            if name is not None and value is not None:
                fields[name] = value
        return msgspec.convert(fields, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedJSON from error
