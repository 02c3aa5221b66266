"""Subject transforms: ``src`` with wildcards, ``dest`` with ``$1``, ``{{wildcard(1)}}`` and the other functions.

Rules (reference 2.8): a wildcard is named by its position; ``*`` in ``dest`` stands for the wildcards of ``src`` in
their order, ``>`` for what ``>`` matched. A ``dest`` without wildcards for a ``src`` with some is fine.
"""

import re
from collections.abc import Callable

from phloem.shared.jetstream import subjects

FNV_START, FNV_PRIME, FNV_MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
_FUNCTION = re.compile(r"\{\{\s*([A-Za-z]+)\s*\(\s*([^()]*?)\s*\)\s*\}\}")
_NUMBERED = re.compile(r"\$(\d+)")
_MOST = {"wildcard": 1, "partition": 64, "split": 2, "random": 1}
_TWO = ("splitfromleft", "splitfromright", "slicefromleft", "slicefromright", "left", "right")
Part = Callable[[list[str], str], str]


class BadTransform(Exception):
    """Why a transform cannot be; the text is nats-server's."""


def _fnv(data: bytes) -> int:
    value = FNV_START
    for byte in data:
        value = ((value ^ byte) * FNV_PRIME) & FNV_MASK
    return value


class Transform:
    """``apply`` gives the new subject, or None for one that ``src`` does not match. Raises BadTransform."""

    def __init__(self, src: str, dest: str, random: Callable[[int], int] | None = None) -> None:
        if not subjects.is_valid(src or ">"):
            raise BadTransform(f"invalid subject {src}")
        self.src, self.dest = src or ">", dest
        self._random = random or (lambda _n: 0)
        self._wild = [i for i, token in enumerate(self.src.split(".")) if token == "*"]
        self._tail = self.src.split(".")[-1] == ">"
        if not dest:
            self._parts: list[Part] = []
            return
        stars = iter(range(1, len(self._wild) + 1))
        self._parts = [self._part(token, stars) for token in self._tokens(dest)]
        if self._tail != (dest.split(".")[-1] == ">") and dest.split(".")[-1] == ">":
            raise BadTransform("invalid mapping destination: > without one in the source")

    @staticmethod
    def _tokens(dest: str) -> list[str]:
        """Split at dots outside of braces."""
        tokens = re.findall(r"(?:\{\{.*?\}\}|[^.])+", dest)
        if ".".join(tokens) != dest or any(any(c in t for c in "\t\r\n\f") for t in tokens):
            raise BadTransform(f"invalid mapping destination: invalid subject {dest}")
        return tokens

    def _part(self, token: str, stars: "object") -> Part:
        if token == "*":
            number = next(stars, None)  # type: ignore[call-overload]
            if number is None:
                raise BadTransform("invalid mapping destination: wildcard index out of range in *")
            return lambda found, _all, n=number: found[n - 1]  # type: ignore[misc]
        if token == ">":
            return lambda found, _all: found[-1]
        if match := _NUMBERED.fullmatch(token):
            index = self._index(match[1], token)
            return lambda found, _all, n=index: found[n - 1]  # type: ignore[misc]
        if token.startswith("{{"):
            return self._function(token)
        return lambda _found, _all: token

    def _index(self, text: str, token: str) -> int:
        number = int(text) if text.isdigit() else 0
        if not 1 <= number <= len(self._wild):
            raise BadTransform(
                f"invalid mapping destination: wildcard index out of range in {token}: [{text}]"
            )
        return number

    def _function(self, token: str) -> Part:
        match = _FUNCTION.fullmatch(token)
        name = match[1].lower() if match else ""
        if match is None or (name not in _MOST and name not in _TWO):
            raise BadTransform(f"invalid mapping destination: unknown function in {token}")
        arguments = [part.strip() for part in match[2].split(",")] if match[2] else []
        least = 2 if name in _TWO or name == "split" else 1
        if len(arguments) < least:
            raise BadTransform(
                f"invalid mapping destination: not enough arguments passed to the function in {token}"
            )
        if len(arguments) > (_MOST.get(name) or 2):
            raise BadTransform(
                f"invalid mapping destination: too many arguments passed to the function in {token}"
            )
        if name in ("partition", "random"):
            return self._number_of(name, arguments, token)
        index = self._index(arguments[0], token)
        if name == "wildcard":
            return lambda found, _all: found[index - 1]
        if name == "split":
            separator = arguments[1]
            return lambda found, _all: ".".join(p for p in found[index - 1].split(separator) if p)
        if not arguments[1].isdigit():
            raise BadTransform(
                f"invalid mapping destination: function argument is invalid or in the wrong format in {token}"
            )
        size = int(arguments[1])
        return lambda found, _all: _cut(name, found[index - 1], size)

    def _number_of(self, name: str, arguments: list[str], token: str) -> Part:
        if not arguments[0].isdigit() or int(arguments[0]) == 0:
            raise BadTransform(
                f"invalid mapping destination: function argument is invalid or in the wrong format in {token}"
            )
        buckets = int(arguments[0])
        if name == "random":
            return lambda _found, _all: str(self._random(buckets))
        chosen = [self._index(argument, token) for argument in arguments[1:]]
        if not chosen:
            return lambda _found, all_: str(_fnv(all_.encode()) % buckets)
        return lambda found, _all: str(_fnv("".join(found[i - 1] for i in chosen).encode()) % buckets)

    def apply(self, subject: str) -> str | None:
        """The subject that it becomes; None: it is not one of ``src``."""
        if not subjects.matches(self.src, subject):
            return None
        if not self._parts:
            return subject
        tokens = subject.split(".")
        found = [tokens[i] for i in self._wild]
        if self._tail:
            found.append(".".join(tokens[len(self.src.split(".")) - 1 :]))
        return ".".join(part(found, subject) for part in self._parts)


def _cut(name: str, token: str, size: int) -> str:
    """A token in pieces; one that is too short stays whole."""
    n = len(token)
    match name:
        case "left":
            return token[:size] if size else token
        case "right":
            return token[-size:] if size else token
        case "splitfromleft":
            return f"{token[:size]}.{token[size:]}" if 0 < size < n else token
        case "splitfromright":
            return f"{token[:-size]}.{token[-size:]}" if 0 < size < n else token
        case "slicefromleft":
            return ".".join(token[i : i + size] for i in range(0, n, size)) if size else token
    first = n % size if size else 0
    pieces = [token[:first]] if first else []
    return ".".join([*pieces, *(token[i : i + size] for i in range(first, n, size))]) if size else token
