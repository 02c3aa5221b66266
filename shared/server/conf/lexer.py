"""The words of a configuration file: whitespace, comments, keys and scalars.

The grammar has no specification; what nats-server 2.15 accepts is the rule, with its surprises:

* an integer runs on into a following ``]``, so that ``[1,2]`` is an error and ``[1,2 ]`` is not;
* a number may turn into a string on the way (``12abc``, ``1.2.3.4``, ``127.0.0.1:4222``), a fraction may not;
* escapes count in unquoted strings, and a word with an escape is never a bool or a variable;
* a ``/`` on its own, where a comment could begin, is skipped.

A scanner only moves forward and never returns an error: what is wrong is raised as ``ConfigError`` with
nats-server's text. Columns count bytes from the newline before (so the first line counts from 0 and all
others from 1), as nats-server prints them.
"""

import bisect
import enum
import re
from typing import NamedTuple, NoReturn

from phloem.shared.errors import ConfigError

END = ""  # what peek() gives after the last character
BLANKS = " \t"
NEWLINES = "\n\r"
SEPARATORS = ":="

_SUFFIXED = re.compile(r"-?\d+[kKmMgGtTpPeE][bBiI]*")
_INTEGER = re.compile(r"-?\d+")
_FRACTION = re.compile(r"\.\d+")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ADDRESS_REST = re.compile(r"[\d.:-]*")
_COMMENT_REST = re.compile(r"[^\n\r]*")
_UNQUOTED_RUN = re.compile(r"[^\\'\n\r;,\]} \t]*")
_DOUBLE_QUOTED_RUN = re.compile(r'[^\\"]*')
_BLOCK_END = re.compile(r"\n\)(?=\n|\Z)")
_NUMBER_ENDS = frozenset("\n\r};, \t") | {END}
_SIMPLE_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}
_BOOLS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


class Type(enum.Enum):
    """What a word is before it has a value."""

    STRING = enum.auto()
    BOOL = enum.auto()
    INTEGER = enum.auto()
    FLOAT = enum.auto()
    DATE = enum.auto()
    VARIABLE = enum.auto()  # the text is the name without "$"


class Word(NamedTuple):
    """A scalar as written; ``start`` is its offset behind an opening quote."""

    type: Type
    text: str
    start: int


class Scanner:
    """Reads one file's text from the beginning."""

    def __init__(self, text: str) -> None:
        self.text, self.offset = text, 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def line(self, offset: int) -> int:
        """1-based line of an offset."""
        return bisect.bisect_left(self._newlines, offset) + 1

    def column(self, offset: int) -> int:
        """Bytes since the last newline, as the file's docstring says."""
        before = bisect.bisect_left(self._newlines, offset)
        line_start = self._newlines[before - 1] if before else 0
        return len(self.text[line_start:offset].encode("utf-8", "surrogateescape"))

    def fail(self, text: str) -> NoReturn:
        """Stop with nats-server's wording, which names the line of the character read last."""
        raise ConfigError(f"Parse error on line {self.line(self.offset)}: '{text}'")

    def fail_got(self, text: str) -> NoReturn:
        """``fail`` for the next character, which replaces ``{}``."""
        got = self.take()
        self.fail(text.format({"\n": "\\n", END: "\\x00"}.get(got, got)))

    # --- characters -------------------------------------------------------------------------------

    def peek(self) -> str:
        """The next character, or END."""
        return self.text[self.offset : self.offset + 1]

    def take(self) -> str:
        """Consume and return the next character, or END."""
        got = self.peek()
        self.offset += len(got)
        return got

    def skip_blanks(self) -> None:
        """Spaces and tabs, but no newline."""
        while self.peek() and self.peek() in BLANKS:
            self.offset += 1

    def skip_space(self) -> None:
        """All whitespace, newlines too."""
        while self.peek().isspace():
            self.offset += 1

    def skip_comment(self) -> bool:
        """Skip one comment up to its newline; whether there was one."""
        if not (self.peek() == "#" or self.text.startswith("//", self.offset)):
            return False
        self._match(_COMMENT_REST)
        return True

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self.text, self.offset)
        if match is None:
            return None
        self.offset = match.end()
        return match[0]

    # --- keys -------------------------------------------------------------------------------------

    def quoted_key(self, unexpected_end: str) -> Word:
        """A key in quotes, which has no escapes; the opening quote is next."""
        quote = self.take()
        start, end = self.offset, self.text.find(quote, self.offset)
        if end < 0:
            self.offset = len(self.text)
            self.fail(unexpected_end)
        self.offset = end + 1
        return Word(Type.STRING, self.text[start:end], start)

    def bare_key(self) -> Word:
        """A key without quotes: everything up to whitespace or a separator, and at least one character."""
        start = self.offset
        self.take()
        while (got := self.peek()) and not got.isspace() and got not in SEPARATORS:
            self.offset += 1
        return Word(Type.STRING, self.text[start : self.offset], start)

    # --- scalars ----------------------------------------------------------------------------------

    def scalar(self) -> Word:
        """A value that is neither array nor map. At the end of the file that is an empty string."""
        first = self.peek()
        if first == "'":
            return self._single_quoted()
        if first == '"':
            return self._double_quoted()
        if first == "(":
            return self._block()
        if first == "-" or first.isdecimal():
            return self._number()
        if first == ".":
            self.take()
            self.fail("Floats must start with a digit")
        if first and first in NEWLINES:
            self.take()
            self.fail("Expected value but found new line")
        return self._bare("", self.offset)

    def _single_quoted(self) -> Word:
        self.take()
        start, end = self.offset, self.text.find("'", self.offset)
        if end < 0:
            self.offset = len(self.text)
            self.fail("Unexpected EOF.")
        self.offset = end + 1
        return Word(Type.STRING, self.text[start:end], start)

    def _double_quoted(self) -> Word:
        self.take()
        start, parts = self.offset, list[str]()
        while True:
            parts.append(self._match(_DOUBLE_QUOTED_RUN) or "")
            end = self.take()
            if end == END:
                self.fail("Unexpected EOF.")
            if end == '"':
                return Word(Type.STRING, _joined(parts), start)
            parts.append(self._escape())

    def _bare(self, begun: str, start: int) -> Word:
        """The rest of a string without quotes, of which ``begun`` has been read."""
        parts, escaped = [begun], False
        while True:
            parts.append(self._match(_UNQUOTED_RUN) or "")
            if self.peek() != "\\":
                break
            self.take()
            parts.append(self._escape())
            escaped = True
        text = _joined(parts)
        if self.peek() == "'":
            self.take()
        elif not escaped and text.lower() in _BOOLS:
            return Word(Type.BOOL, text, start)
        elif not escaped and text.startswith("$"):
            return Word(Type.VARIABLE, text[1:], start)
        return Word(Type.STRING, text, start)

    def _escape(self) -> str:
        """What stands behind a backslash. ``\\xHH`` is one byte, which may be half a character."""
        kind = self.take()
        if kind in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[kind]
        if kind != "x":
            self.offset -= len(kind)
            self.fail_got(
                "Invalid escape character '{}'. Only the following escape characters are allowed: "
                '\\xXX, \\t, \\n, \\r, \\", \\\\.'
            )
        digits = self.take() + self.take()
        if set(digits) & set(NEWLINES):
            self.fail("Expected two hexadecimal digits after '\\x', but hit end of line")
        if not re.fullmatch("[0-9a-fA-F]{2}", digits):
            self.fail(f"Expected two hexadecimal digits after '\\x', but got '{digits}'")
        return bytes.fromhex(digits).decode("utf-8", "surrogateescape")

    def _block(self) -> Word:
        """``(``, lines, and ``)`` on a line by itself, which stays in the text if the file ends behind it."""
        self.take()
        start, end = self.offset, _BLOCK_END.search(self.text, self.offset)
        if end is None:
            self.offset = len(self.text)
            self.fail("Unexpected EOF processing block.")
        self.offset = end.end()
        stop = end.end() if self.offset == len(self.text) else end.end() - 1
        return Word(Type.STRING, self.text[start:stop], start)

    def _number(self) -> Word:
        start, negative = self.offset, self.peek() == "-"
        if self._match(_INTEGER) is None:
            self.take()
            if self.peek() == ".":
                self.fail("Floats must start with a digit, not '.'.")
            self.fail_got("Expected a digit but got '{}'.")
        behind = self.peek()
        if behind == ".":
            return self._fraction(start)
        if behind == "-" and not negative:
            return self._date(start)
        if behind and behind in "kKmMgGtTpPeE":
            return self._suffixed(start)
        if negative or behind in _NUMBER_ENDS:
            return Word(Type.INTEGER, self.text[start : self.offset], start)
        self.take()  # whatever it is, even "]" or a backslash, it belongs to the string that this is now
        return self._bare(self.text[start : self.offset], start)

    def _suffixed(self, start: int) -> Word:
        self.offset = start
        text = self._match(_SUFFIXED) or ""
        if self.peek() in _NUMBER_ENDS:
            return Word(Type.INTEGER, text, start)
        return self._bare(text, start)

    def _fraction(self, start: int) -> Word:
        if self._match(_FRACTION) is None:
            self.take()
            self.fail_got("Floats must have a digit after the '.', but got '{}' instead.")
        if self.peek() != ".":
            return Word(Type.FLOAT, self.text[start : self.offset], start)
        self._match(_ADDRESS_REST)
        return Word(Type.STRING, self.text[start : self.offset], start)

    def _date(self, start: int) -> Word:
        self.offset = start
        text = self._match(_DATE)
        if text is None:
            self.fail("All ISO8601 dates must be in full Zulu form.")
        return Word(Type.DATE, text, start)


def truth(text: str) -> bool:
    """The value of a word of type BOOL."""
    return _BOOLS[text.lower()]


def _joined(parts: list[str]) -> str:
    """Parts as one string: bytes from escapes that make a character together become that character."""
    return "".join(parts).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
