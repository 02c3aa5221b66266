"""Settings that are one of several kinds: a name, or a block with the name in ``type``."""

from typing import Any, get_args

import msgspec

from phloem.shared.errors import ConfigError


def names_of(kinds: Any) -> tuple[str, ...]:
    """The names of a union of tagged structs, in their order."""
    return tuple(kind.__struct_config__.tag for kind in get_args(kinds))


def chosen(what: str, value: object, kinds: Any) -> Any:
    """The settings, one of ``kinds``, that ``value`` says; ``what`` is the key it stands under.

    Raises:
        ConfigError: There is no such kind, or it has no such setting, or a value that it cannot take.
    """
    fields = {"type": value} if isinstance(value, str) else value
    names = names_of(kinds)
    if isinstance(fields, dict) and fields.get("type") not in names:
        raise ConfigError(f"{what} {fields.get('type')!r} is none of {', '.join(names)}")
    try:
        return msgspec.convert(fields, kinds)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{what}: {error}") from None
