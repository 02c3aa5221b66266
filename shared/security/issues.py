"""What is wrong with claims, as NATS's JWT library gathers it."""

from collections.abc import Iterator
from typing import NamedTuple

from phloem.shared import limits


class Issue(NamedTuple):
    """One thing. Neither ``blocking`` nor ``time_check``: a warning."""

    description: str
    blocking: bool = False
    time_check: bool = False


class Issues:
    """All that was found, in the order of the checks."""

    def __init__(self) -> None:
        self._found: list[Issue] = []

    def error(self, description: str) -> None:
        """The claims must not be used."""
        self._found.append(Issue(description, blocking=True))

    def time(self, description: str) -> None:
        """The claims must not be used now."""
        self._found.append(Issue(description, time_check=True))

    def warning(self, description: str) -> None:
        """Nobody minds."""
        self._found.append(Issue(description))

    def blocking(self, *, times: bool) -> bool:
        """Whether the claims must not be used; with ``times``, whether now."""
        return any(issue.blocking or (times and issue.time_check) for issue in self._found)

    def __iter__(self) -> Iterator[Issue]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __str__(self) -> str:
        return "; ".join(issue.description for issue in self._found)


def quoted(text: str) -> str:
    """``text`` in quotes as Go's ``%q`` has it; of a long one only the beginning."""
    shown = "".join(_escaped(c) for c in text[: limits.JWT_QUOTED])
    return f'"{shown}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else ascii(character)[1:-1]
