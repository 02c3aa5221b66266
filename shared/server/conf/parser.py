"""The structure of a configuration file: document, maps, arrays, includes and variables.

``parse_file`` gives the top-level map; every value knows where it was written. In a map that is where its
key was written, because that is what a message about it should point at.

Rules: the last of two equal keys wins. A variable is looked up in the maps around it, innermost first, as
far as they are read by then, and after that in the environment, whose text is read as a value of this
grammar. ``used`` marks a value that a variable named: a key nobody knows is then no mistake.
"""

import math
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.server.conf.lexer import END, NEWLINES, SEPARATORS, Scanner, Type, Word, truth

Data = str | bool | int | float | datetime | list["Value"] | dict[str, "Value"]

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_POWERS = {letter: power for power, letter in enumerate("kmgtpe", start=1)}
_BCRYPT = "2a$"  # "$2a$..." without quotes is a hash and no variable; other bcrypt forms need quotes


class Value:
    """One value and where it was written: ``line`` from 1, ``column`` as the scanner counts."""

    __slots__ = ("column", "data", "file", "line", "used")

    def __init__(self, data: Data, file: str, line: int, column: int) -> None:
        self.data, self.file, self.line, self.column = data, file, line, column
        self.used = False

    def __repr__(self) -> str:
        return f"Value({self.data!r}, {self.file}:{self.line}:{self.column})"

    def error(self, text: str) -> ConfigError:
        """A ``ConfigError`` that points here."""
        return ConfigError(text, file=self.file, line=self.line, column=self.column)


def parse_file(path: str | os.PathLike[str]) -> dict[str, Value]:
    """Read and parse a file with everything it includes.

    Raises:
        ConfigError: The file cannot be read or is not in the grammar.
    """
    return _Parser(_read(os.fspath(path)), os.fspath(path), includes=0).document()


def parse_text(text: str, file: str = "") -> dict[str, Value]:
    """Parse text; ``file`` is named in messages, and includes are relative to its folder."""
    return _Parser(text, file, includes=0).document()


def parse_foreign(text: str, file: str = "") -> dict[str, Value]:
    """The same for text of somebody who is not to read this machine's files or environment.

    Raises:
        ConfigError: It is not in the grammar, includes a file or names a variable that is not its own.
    """
    return _Foreign(text, file, includes=0).document()


def from_plain(config: Mapping[str, Any]) -> dict[str, Value]:
    """The same for Python values: mappings, sequences, strings, numbers and bools, at no position.

    Raises:
        ConfigError: A value is of another type.
    """
    return {key: _plain(key, value) for key, value in config.items()}


def _plain(key: str, value: Any) -> Value:
    match value:
        case str() | bool() | int() | float() | datetime():
            return Value(value, "", 0, 0)
        case Mapping():
            return Value(from_plain(value), "", 0, 0)
        case list() | tuple():
            return Value([_plain(key, item) for item in value], "", 0, 0)
    raise ConfigError(f'"{key}" cannot be configured with a {type(value).__name__}')


def _read(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(limits.CONFIG_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"open {path}: {(error.strerror or str(error)).lower()}") from error
    if len(raw) > limits.CONFIG_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {limits.CONFIG_FILE_BYTES} bytes")
    return raw.decode("utf-8", "surrogateescape")


class _Parser:
    """Recursive descent over one text. ``variables`` are environment variables being expanded."""

    def __init__(self, text: str, file: str, *, includes: int, variables: tuple[str, ...] = ()) -> None:
        if "\0" in text:
            raise ConfigError(
                f"Parse error on line {text.count(chr(10), 0, text.index(chr(0))) + 1}: 'Unexpected EOF.'"
            )
        self._scan, self._file = Scanner(text), file
        self._includes, self._variables = includes, variables
        self._scopes: list[dict[str, Value]] = []  # maps around the current position, outermost first
        self._depth = 0

    # --- the document -----------------------------------------------------------------------------

    def document(self) -> dict[str, Value]:
        """The whole text, which may be wrapped in braces, even several."""
        scan, top = self._scan, dict[str, Value]()
        self._scopes.append(top)
        braces = 0
        while True:
            self._skip_space_and_comments()
            first = scan.peek()
            if first == END:
                return top
            if first == "{":
                scan.take()
                braces += 1
            elif first == "}" and braces:
                braces = self._close_braces(braces)
            elif first == "/":
                scan.take()
                scan.fail("Unexpected EOF.")
            else:
                if not self._entry(top):
                    return top
                self._end_of_entry(braces)

    def _entry(self, top: dict[str, Value]) -> bool:
        """One key and its value at the top. False: that was the last brace of a file that opened none."""
        scan = self._scan
        if scan.peek() in SEPARATORS:
            scan.fail_got("Unexpected key separator '{}'")
        if scan.peek() in "\"'":
            key, bare = scan.quoted_key("Unexpected EOF."), False
        else:
            key, bare = scan.bare_key(), True
        if bare and self._include(key, top):
            return True
        scan.skip_space()
        if scan.peek() == END:
            if key.text == "}":
                return False
            line, column = scan.line(scan.offset), scan.column(scan.offset)
            raise ConfigError(f"config is invalid ({self._file}:{line}:{column})")
        if scan.peek() in SEPARATORS:
            scan.take()
        top[key.text] = self._value(key)
        return True

    def _close_braces(self, braces: int) -> int:
        """Consume one ``}`` and, while more are open, what may stand up to the next entry or brace."""
        self._scan.take()
        if braces > 1:
            self._scan.skip_space()
            if not (self._scan.peek() and self._scan.peek() in ";,}#/"):
                self._scan.fail_got("Expected a block-level to end with a '}}', but got '{}' instead.")
            if self._scan.peek() in ";,":
                self._scan.take()
        return braces - 1

    def _end_of_entry(self, braces: int) -> None:
        """What separates an entry of the document from the next."""
        scan = self._scan
        while True:
            scan.skip_blanks()
            if scan.skip_comment():
                return
            if scan.peek() != "/":
                break
            scan.take()
        behind = scan.peek()
        if braces and behind == "}":
            return  # document() closes it
        if behind in ("\n", "\r", ";", ",") or (not braces and behind in ("}", END)):
            scan.take()
        else:
            scan.fail_got(
                f"Expected a {'block' if braces else 'top'}-level value to end with a new line, "
                "comment or EOF, but got '{}' instead."
            )

    def _skip_space_and_comments(self) -> None:
        self._scan.skip_space()
        while self._scan.skip_comment():
            self._scan.skip_space()

    # --- values -----------------------------------------------------------------------------------

    def _value(self, key: Word | None) -> Value:
        """The value that is next on this line; it is said to stand at ``key`` if there is one."""
        scan = self._scan
        scan.skip_blanks()
        start = scan.offset
        if scan.peek() in ("[", "{"):
            self._depth += 1
            if self._depth > limits.CONFIG_NESTING:
                scan.fail(f"more than {limits.CONFIG_NESTING} maps and arrays inside one another")
            data: Data = self._array() if scan.take() == "[" else self._map()
            self._depth -= 1
        else:
            word = scan.scalar()
            start = word.start
            data = self._variable(word) if word.type is Type.VARIABLE else self._convert(word)
        if key is not None:
            start = key.start
        return Value(data, self._file, scan.line(start), scan.column(start))

    def _array(self) -> list[Value]:
        scan, values = self._scan, list[Value]()
        while True:
            self._skip_space_and_comments()
            if scan.peek() == "]":
                scan.take()
                return values
            if scan.peek() in (",", "/"):
                scan.take()
                scan.fail("Unexpected array value terminator ','.")
            values.append(self._value(None))
            self._end_of_item(
                ",",
                "]",
                'Expected an array value terminator "," or an array terminator "]", but got \'{}\' instead.',
            )

    def _map(self) -> dict[str, Value]:
        scan, entries = self._scan, dict[str, Value]()
        self._scopes.append(entries)
        while True:
            self._skip_space_and_comments()
            if scan.peek() == "}":
                scan.take()
                self._scopes.pop()
                return entries
            self._map_entry(entries)
            self._end_of_item(
                ";,",
                "}",
                'Expected a map value terminator "," or a map terminator "}}", but got \'{}\' instead.',
            )

    def _map_entry(self, entries: dict[str, Value]) -> None:
        scan, first = self._scan, self._scan.peek()
        if first == END:
            scan.fail("Unexpected EOF processing map.")
        if first in SEPARATORS:
            scan.fail_got("Unexpected key separator '{}'.")
        if first == "]":
            scan.fail_got("Unexpected array end '{}' processing map.")
        if first in "\"'":
            which = "double quoted" if first == '"' else "quoted"
            key = scan.quoted_key(f"Unexpected EOF processing {which} map key.")
        else:
            if first == "/":
                scan.take()  # and the key begins behind it, whatever stands there
            key = scan.bare_key()
            if scan.peek() == END:
                scan.fail("Unexpected EOF processing map key.")
            if self._include(key, entries):
                return
        scan.skip_space()
        if scan.peek() and scan.peek() in SEPARATORS:
            scan.take()
        scan.skip_space()
        if scan.peek() == ",":
            scan.fail('Unexpected map value terminator ",".')
        if scan.peek() == "}":
            scan.fail(f'Expected a value for "{key.text}" but the map ends')
        entries[key.text] = self._value(key)

    def _end_of_item(self, separators: str, closer: str, message: str) -> None:
        """What follows an item of a map or array: a separator, a newline, or the closer, which stays."""
        scan = self._scan
        scan.skip_blanks()
        while scan.skip_comment():
            scan.skip_blanks()
        behind = scan.peek()
        if behind != closer:
            if behind == END or behind not in separators + NEWLINES + "/":
                scan.fail_got(message)
            scan.take()

    def _convert(self, word: Word) -> Data:
        text = word.text
        if word.type in (Type.INTEGER, Type.FLOAT, Type.DATE) and not text.isascii():
            raise ConfigError(f"expected a number, but got '{text}'")
        match word.type:
            case Type.BOOL:
                return truth(text)
            case Type.INTEGER:
                return self._integer(text)
            case Type.FLOAT:
                if math.isinf(number := float(text)):
                    raise ConfigError(f"float '{text}' is out of the range")
                return number
            case Type.DATE:
                try:
                    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
                except ValueError:
                    raise ConfigError(f"expected Zulu formatted DateTime, but got '{text}'") from None
            case _:
                return text

    def _integer(self, text: str) -> int:
        """``10`` or ``10kb``: one letter alone counts in thousands, with b, i or ib in 1024s."""
        number = text.rstrip("kmgtpeibKMGTPEIB")
        suffix = text[len(number) :].lower()
        if suffix[1:] not in ("", "b", "i", "ib"):
            self._scan.fail(f"'{text}' is no size: {suffix!r} is no unit")
        scale = (1000 if len(suffix) == 1 else 1024) ** _POWERS[suffix[0]] if suffix else 1
        value = int(number) * scale
        if not _INT64_MIN <= value <= _INT64_MAX:
            raise ConfigError(f"integer '{text}' is out of the range")
        return value

    # --- includes and variables -------------------------------------------------------------------

    def _include(self, key: Word, into: dict[str, Value]) -> bool:
        """If the key is the word ``include``, read the file it names into this map."""
        scan = self._scan
        if key.text.lower() != "include" or not scan.peek().isspace():
            return False
        scan.skip_blanks()
        name = self._include_name()
        if self._includes >= limits.CONFIG_INCLUDES:
            scan.fail(f"more than {limits.CONFIG_INCLUDES} includes inside one another")
        path = os.path.normpath(f"{os.path.dirname(self._file) or '.'}/{name}")
        try:
            into.update(_Parser(_read(path), path, includes=self._includes + 1).document())
        except ConfigError as error:
            raise ConfigError(f"error parsing include file '{name}', {error}") from error
        return True

    def _include_name(self) -> str:
        scan, first = self._scan, self._scan.peek()
        if first and first in "\"'":
            return scan.quoted_key(
                f"Unexpected EOF in {'double ' if first == chr(34) else ''}quoted include"
            ).text
        refused = {
            "[": "start of an array",
            "{": "start of a map",
            "(": "start of a block",
            "\\": "escape sequence",
        }
        what = refused.get(first) or ("new line" if first in NEWLINES else "")
        if first == "-" or first.isdecimal():
            what = "start of a number"
        if what:
            scan.take()
            scan.fail(f"Expected include value but found {what}")
        start = scan.offset
        while scan.peek() and scan.peek() not in "\n\r;} \t'":
            scan.take()
        name = scan.text[start : scan.offset]
        if scan.peek() == "'":
            scan.take()
        return name

    def _variable(self, word: Word) -> Data:
        if word.text.startswith(_BCRYPT):
            return f"${word.text}"
        for scope in reversed(self._scopes):
            if word.text in scope:
                scope[word.text].used = True
                return scope[word.text].data
        text = os.environ.get(word.text)
        if text is None:
            self._variable_error(word, "can not be found")
        if word.text in self._variables or len(self._variables) >= limits.CONFIG_VARIABLES:
            self._variable_error(word, f"could not be parsed: variable reference cycle for '{word.text}'")
        inner = _Parser(f"pk={text}", "", includes=self._includes, variables=(*self._variables, word.text))
        try:
            return inner.document()["pk"].data
        except ConfigError as error:
            self._variable_error(word, f"could not be parsed: {error}")

    def _variable_error(self, word: Word, text: str) -> NoReturn:
        line = self._scan.line(word.start)
        raise ConfigError(f"variable reference for '{word.text}' on line {line} {text}")


class _Foreign(_Parser):
    """Without anything from outside of the text."""

    def _include(self, key: Word, entries: dict[str, Value]) -> bool:
        if key.text.lower() == "include":
            raise ConfigError("include is not allowed here")
        return False

    def _variable(self, word: Word) -> Data:
        if any(word.text in scope for scope in self._scopes) or word.text.startswith(_BCRYPT):
            return super()._variable(word)
        self._variable_error(word, "can not be found")
