"""The grammar without a server beside it: values, positions, includes, variables, bounds."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.server.conf import Value, config_digest, parse_file, parse_text


def plain(value: Value) -> Any:
    if isinstance(value.data, dict):
        return {key: plain(item) for key, item in value.data.items()}
    if isinstance(value.data, list):
        return [plain(item) for item in value.data]
    return value.data


def parsed(text: str) -> Any:
    return {key: plain(value) for key, value in parse_text(text).items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("1k", 1000),
        ("1kb", 1024),
        ("1MiB", 1 << 20),
        ("-2m", -2_000_000),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        ("1m30s", "1m30s"),
        ("127.0.0.1:4222", "127.0.0.1:4222"),
        ("on", True),
        ("No", False),
        ('"on"', "on"),
        ("2020-01-02T03:04:05Z", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("a#b", "a#b"),
        ("a #b", "a"),
        ("'a\\tb'", "a\\tb"),
        ('"a\\tb\\x41"', "a\tbA"),
        ('"\\xc3\\xa9"', "é"),
        ("(\n a\n b\n)\n", "\n a\n b\n"),
        ("$2a$11$x", "$2a$11$x"),
        ('"$HOME"', "$HOME"),
        ("[1, 2 ]", [1, 2]),
        ("[1k]", ["1k"]),
        ("{ a: 1, b { c: [x] } }", {"a": 1, "b": {"c": ["x"]}}),
    ],
)
def test_value(text: str, value: Any) -> None:
    assert parsed(f"k: {text}") == {"k": value}
    assert type(parsed(f"k: {text}")["k"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,2]", "Parse error on line 1"),
        ("a: 1\nb: [1 2]", 'Parse error on line 2: \'Expected an array value terminator ","'),
        ('a: "\\q"', "Invalid escape character 'q'. Only the following"),
        ("a: 9223372036854775808", "integer '9223372036854775808' is out of the range"),
        ("a: 1kbb", "'1kbb' is no size"),
        ("a: 99999999e", "is out of the range"),
        ("a: { b: }", 'Expected a value for "b" but the map ends'),
        ("a: ٣", "expected a number, but got '٣'"),
        ("a: 1\0b: 2", "Unexpected EOF."),
        (f"a: {'[' * 100}", "more than 64 maps and arrays inside one another"),
        ("a: " + "9" * 400 + ".5", "is out of the range"),
        ("a: $NO_SUCH_VARIABLE", "variable reference for 'NO_SUCH_VARIABLE' on line 1 can not be found"),
    ],
)
def test_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_text(text)
    assert message in str(caught.value)


def test_positions_are_those_of_the_key() -> None:
    top = parse_text('a: 1\n  "é": {\n  b: 2\n}\nc: [\n  x\n]', "f.conf")
    assert [(v.file, v.line, v.column) for v in top.values()] == [
        ("f.conf", 1, 0),
        ("f.conf", 2, 4),
        ("f.conf", 5, 1),
    ]
    inner = top["é"].data
    assert isinstance(inner, dict)
    assert (inner["b"].line, inner["b"].column) == (3, 3)
    items = top["c"].data
    assert isinstance(items, list)
    assert (items[0].line, items[0].column) == (6, 3)


def test_columns_count_bytes() -> None:
    assert parse_text("é: 1; a: 2")["a"].column == 7


def test_variables_look_outwards_and_only_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE", "10s")
    top = parse_text("x: 1\nm { x: 2, y: $x, n { z: $x, o: $OUTSIDE } }\nx2: $x")
    assert {key: plain(value) for key, value in top.items()} == {
        "x": 1,
        "m": {"x": 2, "y": 2, "n": {"z": 2, "o": "10s"}},
        "x2": 1,
    }
    assert top["x"].used
    assert not top["x2"].used


def test_environment_cycle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLOEM_A", "$PHLOEM_B")
    monkeypatch.setenv("PHLOEM_B", "$PHLOEM_A")
    with pytest.raises(ConfigError, match="variable reference cycle for 'PHLOEM_A'"):
        parse_text("a: $PHLOEM_A")


def test_include(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "main.conf").write_text("a: 1\nm { include sub/one.conf\n c: 3 }\n")
    (tmp_path / "sub/one.conf").write_text("b: 2\ninclude './two.conf'\n")
    (tmp_path / "sub/two.conf").write_text("\nd: 4\n")
    top = parse_file(tmp_path / "main.conf")
    assert plain(top["m"]) == {"b": 2, "d": 4, "c": 3}
    inner = top["m"].data
    assert isinstance(inner, dict)
    assert (inner["d"].file, inner["d"].line) == (str(tmp_path / "sub/two.conf"), 2)


def test_file_that_includes_itself(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("include a.conf\n")
    with pytest.raises(ConfigError, match=f"more than {limits.CONFIG_INCLUDES} includes inside one another"):
        parse_file(tmp_path / "a.conf")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"open .*nope\.conf: no such file or directory"):
        parse_file(tmp_path / "nope.conf")


def test_digest_does_not_depend_on_layout() -> None:
    one = config_digest(parse_text("b: 1, a: { x: [1 ,2 ], y: 2.50 }"))
    other = config_digest(parse_text('# c\na { "y" = 2.5\n x = [ 1\n 2\n] }\nb 1'))
    assert one == other
    assert one != config_digest(parse_text("B: 1, a: { x: [1 ,2 ], y: 2.50 }"))


def test_digest_of_nothing() -> None:
    assert config_digest({}) == "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


keys = st.text(min_size=1, max_size=8).filter(lambda text: '"' not in text and "\0" not in text)
scalars = (
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False).map(abs)
    | st.text(max_size=12).filter(lambda text: "\0" not in text)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def rendered(value: Any) -> str:
    """One way to write a value; every item on a line of its own."""
    match value:
        case bool():
            return "yes" if value else "off"
        case int():
            return str(value)
        case float():
            return f"{value:.400f}".rstrip("0") + "0"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[\n" + "\n".join(map(rendered, value)) + "\n]"
        case _:
            return "{\n" + "\n".join(f'"{key}": {rendered(item)}' for key, item in value.items()) + "\n}"


@given(st.dictionaries(keys, values, max_size=4))
def test_what_is_rendered_reads_back(top: dict[str, Any]) -> None:
    assert parsed("\n".join(f'"{key}": {rendered(value)}' for key, value in top.items())) == top


@given(st.text(max_size=60) | st.text("ab1.k$-/#:=,;{}[]()'\"\\ \n\tx", max_size=30))
def test_any_text_gives_values_or_a_config_error(text: str) -> None:
    try:
        top = parse_text(text)
    except ConfigError:
        return
    assert math.isfinite(len(config_digest(top)))
    assert all(isinstance(value.line, int) and value.line >= 1 for value in top.values())
