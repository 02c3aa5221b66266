"""Parameters: what counts, and what is said about the others. The texts come from a nats-server."""

import pytest

from phloem.shared.server.monitor.query import BadParameter, Query


def test_the_first_value_counts_and_an_empty_one_is_missing() -> None:
    query = Query(b"a=1&a=2&b=&c&d=x+y%2Bz&=7")
    assert [query.text(name) for name in "abcd"] == ["1", "", "", "x y+z"]
    assert query.flag("b") is False
    assert query.integer("c") == 0
    assert query.text("missing") == ""


def test_pairs_that_cannot_be_decoded_are_left_out() -> None:
    query = Query(b"a=%zz&b=1;c=2&d=%4&e=ok")
    assert [query.text(name) for name in "abcde"] == ["", "", "", "", "ok"]


@pytest.mark.parametrize("word", ["1", "t", "T", "TRUE", "true", "True"])
def test_words_for_true(word: str) -> None:
    assert Query(f"x={word}".encode()).flag("x") is True


@pytest.mark.parametrize("word", ["0", "f", "F", "FALSE", "false", "False"])
def test_words_for_false(word: str) -> None:
    assert Query(f"x={word}".encode()).flag("x") is False


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"foo", '"foo": invalid syntax'),
        (b"tRUE", '"tRUE": invalid syntax'),
        (b"%22a%00%C3%A9%FF%5C%0A", r'"\"a\x00é\xff\\\n": invalid syntax'),
        (b"%C2%AD%F3%A0%80%81", r'"\u00ad\U000e0001": invalid syntax'),
    ],
)
def test_other_words_are_quoted_back(raw: bytes, problem: str) -> None:
    with pytest.raises(BadParameter) as caught:
        Query(b"x=" + raw).flag("x")
    assert str(caught.value) == f"Error decoding boolean for 'x': strconv.ParseBool: parsing {problem}"


@pytest.mark.parametrize(
    ("raw", "value"), [("7", 7), ("%2B7", 7), ("-7", -7), ("007", 7), (str((1 << 63) - 1), (1 << 63) - 1)]
)
def test_integers(raw: str, value: int) -> None:
    assert Query(f"x={raw}".encode()).integer("x") == value


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("x", '"x": invalid syntax'),
        ("1.5", '"1.5": invalid syntax'),
        ("1_0", '"1_0": invalid syntax'),
        ("+5", '" 5": invalid syntax'),
        ("%D9%A3", '"٣": invalid syntax'),
        (str(1 << 63), f'"{1 << 63}": value out of range'),
        ("9" * 9000, f'"{"9" * 9000}": value out of range'),
    ],
)
def test_what_is_no_integer(raw: str, problem: str) -> None:
    with pytest.raises(BadParameter) as caught:
        Query(f"n={raw}".encode()).integer("n")
    assert str(caught.value) == f"Error decoding int for 'n': strconv.Atoi: parsing {problem}"


@pytest.mark.parametrize(
    ("raw", "problem"), [("-1", '"-1": invalid syntax'), (str(1 << 64), f'"{1 << 64}": value out of range')]
)
def test_what_is_no_unsigned_integer(raw: str, problem: str) -> None:
    with pytest.raises(BadParameter) as caught:
        Query(f"cid={raw}".encode()).unsigned("cid")
    assert str(caught.value) == f"Error decoding uint64 for 'cid': strconv.ParseUint: parsing {problem}"


def test_unsigned_integers() -> None:
    assert Query(b"cid=18446744073709551615").unsigned("cid") == (1 << 64) - 1
