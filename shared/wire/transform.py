"""Subject transforms: from a source with wildcards to a destination with ``$1``, ``{{wildcard(1)}}`` and others.

What is accepted, in which words it is refused and what comes out is nats-server's (security_ops 2.7): the functions'
names begin with a letter in either case, a wildcard is named by its place among the ``*``, tokens are what is between
dots, whatever braces say. It is used by streams, subject mappings and imports; the compiled kernel is given the parts.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

FNV_START, FNV_PRIME, FNV_MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
INT32_MAX = (1 << 31) - 1

# in the order in which nats-server tries them
FUNCTIONS = {
    name.lower(): re.compile(
        r"\{\{\s*" + "".join(f"[{c.lower()}{c}]" if c.isupper() else c for c in name) + r"\s*\((.*)\)\s*\}\}"
    )
    for name in (
        "Wildcard",
        "Partition",
        "SplitFromLeft",
        "SplitFromRight",
        "SliceFromLeft",
        "SliceFromRight",
        "Right",
        "Left",
        "Split",
        "Random",
    )
}
_COMMA = re.compile(r",\s*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_SPACES = "\t\n\f\r "
_BRACED_MIN = 5  # bytes of a token that may be a function

INVALID = "invalid subject"
DESTINATION = "invalid mapping destination"


class BadTransform(Exception):
    """Why a transform cannot be; the text is nats-server's."""


class Part(NamedTuple):
    """What a token of the destination stands for: ``literal``, ``rest`` (of a ``>``) or a function, in lower case.

    ``tokens``: places in the source, from 0; ``number`` and ``text``: the function's own arguments.
    """

    what: str
    tokens: Sequence[int] = ()
    number: int = 0
    text: str = ""


def _bad(what: str, token: str) -> BadTransform:
    return BadTransform(f"{DESTINATION}: {what} in {token}")


def _tokens(subject: str) -> list[str]:
    """Its tokens; raises BadTransform for an empty one or one behind ``>``."""
    tokens = subject.split(".")
    if not all(tokens) or ">" in tokens[:-1]:
        raise BadTransform(INVALID)
    return tokens


def _integer(text: str, token: str) -> int:
    text = text.strip(" ")
    if not _INTEGER.fullmatch(text):
        raise _bad("function argument is invalid or in the wrong format", token)
    return int(text)


def _size(text: str, token: str) -> int:
    number = _integer(text, token)
    if number > INT32_MAX:
        raise _bad("function argument is invalid or in the wrong format", token)
    return number


def _is_braced(token: str) -> bool:
    return len(token) >= _BRACED_MIN and token.startswith("{{") and token.endswith("}}")


def _function(token: str) -> Part:
    """A token of the destination, with places of wildcards from 1 in ``tokens``."""
    if len(token) > 1 and token[0] == "$":
        return (
            Part("wildcard", (int(token[1:]),))
            if _INTEGER.fullmatch(token[1:])
            else Part("literal", text=token)
        )
    if not _is_braced(token):
        return Part("literal", text=token)
    for name, form in FUNCTIONS.items():
        if match := form.search(token):
            return _called(name, _COMMA.split(match[1]), token)
    raise _bad("unknown function", token)


def _called(name: str, arguments: list[str], token: str) -> Part:
    few, many = "not enough arguments passed to the function", "too many arguments passed to the function"
    match name:
        case "wildcard":
            if arguments == [""]:
                raise _bad(few, token)
            if len(arguments) > 1:
                raise _bad(many, token)
            return Part(name, (_integer(arguments[0], token),))
        case "partition":
            number = _size(arguments[0], token)
            return Part(name, tuple(_integer(text, token) for text in arguments[1:]), number)
        case "random":
            if len(arguments) != 1:
                raise _bad(few, token)
            return Part(name, (), _size(arguments[0], token))
    if len(arguments) < 2:
        raise _bad(few, token)
    if len(arguments) > 2:
        raise _bad(many, token)
    index = _integer(arguments[0], token)
    if name == "split":
        if " " in arguments[1]:
            raise _bad("function argument is invalid or in the wrong format", token)
        return Part(name, (index,), 0, arguments[1])
    return Part(name, (index,), _size(arguments[1], token))


class Transform:
    """From subjects that ``source`` covers to others. ``strict``: for imports, which have to be reversible.

    An empty ``source`` covers everything, an empty ``destination`` changes nothing. ``random(n)`` gives 0 to n-1.

    Raises:
        BadTransform: With nats-server's words.
    """

    def __init__(
        self,
        source: str,
        destination: str,
        random: Callable[[int], int] | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self.source, self.destination = source or ">", destination
        self._random = random or (lambda _n: 0)
        self.parts: list[Part] = []
        self._source = self.source.split(".")
        if not destination:
            return
        self._source = _tokens(self.source)
        tokens = _tokens(destination)
        if "*" in tokens or (self._source[-1] == ">") != (tokens[-1] == ">"):
            raise BadTransform(INVALID)
        if self.source == destination == ">":
            return
        wild = [place for place, token in enumerate(self._source) if token == "*"]
        self.parts = self._of(tokens, wild, strict=strict)

    def _of(self, tokens: list[str], wild: list[int], *, strict: bool) -> list[Part]:
        parts, used = [], 0
        literal = not wild and self._source[-1] != ">"
        for token in tokens:
            part = _function(token)
            if part.what == "literal":
                parts.append(Part("rest", (len(self._source) - 1,)) if token == ">" else part)
                continue
            if literal:
                if part.what not in ("partition", "random"):
                    raise _bad("wildcard index out of range", token)
                parts.append(part._replace(tokens=()))
                continue
            if strict and part.what != "wildcard":
                raise _bad("the only mapping function allowed for import transforms is {{Wildcard()}}", token)
            for index in part.tokens:
                if index > len(wild):
                    raise _bad("wildcard index out of range", f"{token}: [{index}]")
            used += len(part.tokens)
            # nats-server takes an index below 1 for the first token
            places = tuple(wild[index - 1] if index > 0 else 0 for index in part.tokens)
            parts.append(part._replace(tokens=places))
        if strict and not literal and used < len(wild):
            raise _bad("not using all of the token wildcard(s)", self.destination)
        return parts

    def apply(self, subject: str) -> str | None:
        """The subject that it becomes; None: it is not one of ``source``."""
        tokens = subject.split(".")
        if not _covers(self._source, tokens):
            return None
        if not self.parts:
            return subject
        return ".".join(self._made(part, tokens) for part in self.parts)

    def _made(self, part: Part, tokens: list[str]) -> str:
        match part.what:
            case "literal":
                return part.text
            case "rest":
                return ".".join(tokens[part.tokens[0] :])
            case "random":
                return str(self._random(part.number)) if part.number else "0"
            case "partition":
                key = "".join(tokens[place] for place in part.tokens) if part.tokens else ".".join(tokens)
                return str(_fnv(_bytes(key)) % part.number) if part.number else "0"
            case "wildcard":
                return tokens[part.tokens[0]]
            case "split":
                return _split(tokens[part.tokens[0]], part.text)
        return _text(_cut(part.what, _bytes(tokens[part.tokens[0]]), part.number))


def validate_mapping(source: str, destination: str) -> Transform:
    """A transform as subject mappings and streams are checked: some refusals have other words.

    Raises:
        BadTransform: With nats-server's words.
    """
    if destination:
        ended = False
        for token in destination.split("."):
            if not token or ended:
                text = f"{DESTINATION}: invalid transform"
                raise BadTransform(f"{text} in {token}" if token else text)
            if _is_braced(token):
                if not any(form.search(token) for form in FUNCTIONS.values()):
                    raise _bad("unknown function", token)
            elif token == ">":
                ended = True
            elif any(space in token for space in _SPACES):
                raise BadTransform(f"{DESTINATION}: invalid transform")
    return Transform(source, destination)


def with_references(subject: str) -> str:
    """``$1``, ``$2`` in place of each ``*``."""
    number = 0
    tokens = subject.split(".")
    for place, token in enumerate(tokens):
        if token == "*":
            number += 1
            tokens[place] = f"${number}"
    return ".".join(tokens)


def without_references(subject: str) -> tuple[str, list[str]]:
    """``*`` in place of each reference, and the references."""
    found, tokens = [], subject.split(".")
    for place, token in enumerate(tokens):
        braced = FUNCTIONS["wildcard"].search(token)
        reference = len(token) > 1 and token[0] == "$" and "1" <= token[1] <= "9"
        if reference or (braced and len(_COMMA.split(braced[1])) == 1 and braced[1]):
            found.append(token)
            tokens[place] = "*"
    return ".".join(tokens), found


def _covers(pattern: list[str], tokens: list[str]) -> bool:
    for place, token in enumerate(pattern):
        if token == ">":
            return len(tokens) > place
        if place >= len(tokens) or tokens[place] == ">" or token not in ("*", tokens[place]):
            return False
    return len(pattern) == len(tokens)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _fnv(data: bytes) -> int:
    value = FNV_START
    for byte in data:
        value = ((value ^ byte) * FNV_PRIME) & FNV_MASK
    return value


def _split(token: str, by: str) -> str:
    return ".".join(piece for piece in (token.split(by) if by else token) if piece)


def _cut(name: str, token: bytes, size: int) -> bytes:
    """A token in pieces; one that is too short stays whole."""
    n = len(token)
    if not 0 < size < n:
        return token
    match name:
        case "left":
            return token[:size]
        case "right":
            return token[-size:]
        case "splitfromleft":
            return token[:size] + b"." + token[size:]
        case "splitfromright":
            return token[:-size] + b"." + token[-size:]
    first = n % size if name == "slicefromright" else 0
    pieces = [token[:first]] if first else []
    return b".".join([*pieces, *(token[i : i + size] for i in range(first, n, size))])
