"""``process: "module:function"``, or a block with it in ``function``."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from phloem.firmware_bridge import limits
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.durations import parse_duration

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``process { function: "cooling:dew_point", path: "/etc/phloem/python", timeout: 1s, on_failure: drop }``."""

    function: str
    """``module:function``."""
    path: str = ""
    """A folder to look for the module in first; the working directory unless given."""
    timeout_ns: int = SECOND_NS
    """How long one call may take."""
    queue: int = 256
    """Frames or readings that wait for the function; beyond that the oldest are not processed."""
    on_failure: str = "pass"
    """What becomes of what was not processed: ``pass`` publishes it as it is, ``drop`` does not."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.function):
            raise ValueError(f"{self.function!r} is not like module:function")
        if not limits.PROCESS_TIMEOUT_MIN_NS <= self.timeout_ns <= limits.PROCESS_TIMEOUT_MAX_NS:
            raise ValueError("timeout is not between 1ms and 60s")
        if not 0 < self.queue <= limits.PROCESS_QUEUE_MAX:
            raise ValueError(f"queue {self.queue} is not between 1 and {limits.PROCESS_QUEUE_MAX}")
        if self.on_failure not in ("pass", "drop"):
            raise ValueError(f"on_failure {self.on_failure!r} is none of pass, drop")


def process_of(value: str | Mapping[str, object]) -> Process:
    """The settings that ``value``, as it is in a configuration, describes.

    Raises:
        ConfigError: There is no such setting, or a value that it cannot take.
    """
    fields: dict[str, Any] = {"function": value} if isinstance(value, str) else dict(value)
    try:
        if isinstance(timeout := fields.pop("timeout", None), str):
            fields["timeout_ns"] = parse_duration(timeout)
        elif timeout is not None:
            raise ValueError('timeout must be a duration in quotes, as "1s"')
        return msgspec.convert(fields, Process)
    except ValueError as error:  # msgspec's ValidationError is one
        raise ConfigError(f"process: {error}") from None
