"""Windows of the day, in which a link or what is forwarded may be sent. Pure: whoever asks says what time it is.

``"01:00-05:00"`` is from one o'clock until just before five. A window whose end is not behind its beginning crosses
midnight; ``"00:00-00:00"`` is the whole day.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from phloem.shared.errors import ConfigError

DAY_S = 86400
_WINDOW = re.compile(r"([0-2]\d):([0-5]\d)-([0-2]\d):([0-5]\d)")


class Window(NamedTuple):
    """Seconds after midnight; ``end_s`` may be before ``start_s``."""

    start_s: int
    end_s: int

    def holds(self, second: int) -> bool:
        """Whether this second of the day is within."""
        if self.start_s < self.end_s:
            return self.start_s <= second < self.end_s
        return second >= self.start_s or second < self.end_s


def windows(texts: Iterable[str]) -> tuple[Window, ...]:
    """The windows of the configuration.

    Raises:
        ConfigError: A text is no window.
    """
    return tuple(map(_window, texts))


def wait_s(among: Iterable[Window], second: int) -> int:
    """Seconds until one of the windows is open; 0: one is, or there are none."""
    among = tuple(among)
    if not among or any(window.holds(second) for window in among):
        return 0
    return min((window.start_s - second) % DAY_S for window in among)


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f'"{text}" is no window of the day; write it as "01:00-05:00"')
    hour, minute, until_hour, until_minute = map(int, match.groups())
    if hour > 23 or until_hour > 24 or (until_hour == 24 and until_minute):
        raise ConfigError(f'"{text}": a day has 24 hours')
    start_s, end_s = (hour * 60 + minute) * 60, (until_hour * 60 + until_minute) * 60 % DAY_S
    return Window(start_s, end_s)
