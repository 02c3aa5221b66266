"""Which frame is the answer to a request. Pure."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

NEXT = "next"  # every frame matches
_MATCH_S = 0.02  # a pattern that backtracks must not stop the other ports


def pattern_of(match: str) -> "regex.Pattern[bytes] | None":
    """What an answer has to look like; None for any frame.

    Raises:
        ValueError: It is no regular expression.
    """
    if match == NEXT:
        return None
    import regex  # noqa: PLC0415  (1.7 MB that only who uses it should pay)

    try:
        return regex.compile(match.encode())
    except regex.error as error:
        raise ValueError(f"request_match {match!r}: {error}") from None


def fits(pattern: "regex.Pattern[bytes] | None", frame: bytes) -> bool:
    """Whether ``frame`` is what ``pattern`` looks for."""
    if pattern is None:
        return True
    try:
        return pattern.search(frame, timeout=_MATCH_S) is not None
    except TimeoutError:
        return False
