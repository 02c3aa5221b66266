"""Subject transforms: the texts are nats-server's, as ``nats-server -t`` wrote them."""

import pytest

from phloem.shared.wire.transform import (
    BadTransform,
    Transform,
    validate_mapping,
    with_references,
    without_references,
)

D = "invalid mapping destination: "
REFUSED = [
    ("b.*", "invalid subject"),
    ("b.>", "invalid subject"),
    ("b.{{foo(1)}}", D + "unknown function in {{foo(1)}}"),
    ("b.{{x}}", D + "unknown function in {{x}}"),
    ("b.{{SPLITFROMLEFT(1,2)}}", D + "unknown function in {{SPLITFROMLEFT(1,2)}}"),
    ("b.$2", D + "wildcard index out of range in $2: [2]"),
    ("b.{{wildcard()}}", D + "not enough arguments passed to the function in {{wildcard()}}"),
    ("b.{{wildcard(1,2)}}", D + "too many arguments passed to the function in {{wildcard(1,2)}}"),
    ("b.{{partition(2,1,2)}}", D + "wildcard index out of range in {{partition(2,1,2)}}: [2]"),
    (
        "b.{{partition(x)}}",
        D + "function argument is invalid or in the wrong format in {{partition(x)}}",
    ),
    ("b.{{partition()}}", D + "function argument is invalid or in the wrong format in {{partition()}}"),
    ("b.{{split(1)}}", D + "not enough arguments passed to the function in {{split(1)}}"),
    ("b.{{split(1,- )}}", D + "function argument is invalid or in the wrong format in {{split(1,- )}}"),
    ("b.{{random(1,2)}}", D + "not enough arguments passed to the function in {{random(1,2)}}"),
    (
        "{{splitFromLeft(1,2,3)}}",
        D + "too many arguments passed to the function in {{splitFromLeft(1,2,3)}}",
    ),
    ("b..c", D + "invalid transform"),
    ("b c", D + "invalid transform"),
    ("b.>.c", D + "invalid transform in c"),
]


@pytest.mark.parametrize(("destination", "text"), REFUSED)
def test_what_is_refused(destination: str, text: str) -> None:
    with pytest.raises(BadTransform) as caught:
        validate_mapping("a.*", destination)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("source", "destination", "text"),
    [
        ("a", "b.{{left(1,2)}}", D + "wildcard index out of range in {{left(1,2)}}"),
        ("a", "b.$1", D + "wildcard index out of range in $1"),
        ("a.>", "b.$1.>", D + "wildcard index out of range in $1: [1]"),
        ("a.>", "b", "invalid subject"),
        ("a..b", "b", "invalid subject"),
    ],
)
def test_sources(source: str, destination: str, text: str) -> None:
    with pytest.raises(BadTransform) as caught:
        validate_mapping(source, destination)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("source", "destination", "subject", "result"),
    [
        ("a.*", "b.{{ Wildcard( 1 ) }}", "a.x", "b.x"),
        ("a.*.*", "b.$2.$1", "a.x.y", "b.y.x"),
        ("a.*", "b.$x.{{}}", "a.x", "b.$x.{{}}"),
        ("a.*", "b.$0", "a.x", "b.a"),
        ("a.>", "b.>", "a.x.y", "b.x.y"),
        (">", "b.>", "a.x", "b.a.x"),
        (">", ">", "a.x", "a.x"),
        ("", "b.>", "a", "b.a"),
        ("a.*", "", "a.x", "a.x"),
        ("a.*", "b.{{partition(10,1)}}", "a.foo", "b.3"),
        ("a", "b.{{partition(10)}}", "a", "b.0"),
        ("a.*", "b.{{partition(0,1)}}", "a.foo", "b.0"),
        ("a.*", "b.{{split(1,-)}}", "a.x--y-z-", "b.x.y.z"),
        ("a.*", "b.{{split(1,)}}", "a.xäy", "b.x.ä.y"),
        ("a.*", "b.{{sliceFromRight(1,2)}}", "a.vwxyz", "b.v.wx.yz"),
        ("a.*", "b.{{left(1,-2)}}", "a.xyz", "b.xyz"),
        ("a.*", "b.c", "a.x", "b.c"),
        ("a.*", "b.$1", "b.x", None),
        ("a.*", "b.$1", "a.x.y", None),
        ("a.>", "b.>", "a", None),
    ],
)
def test_what_becomes(source: str, destination: str, subject: str, result: str | None) -> None:
    assert Transform(source, destination).apply(subject) == result


def test_bytes_are_cut_not_characters() -> None:
    made = Transform("*", "{{left(1,2)}}").apply("aäb")
    assert made is not None
    assert made.encode("utf-8", "surrogateescape") == b"a\xc3"


def test_random_is_handed_in() -> None:
    assert Transform("a", "b.{{random(5)}}", lambda n: n - 1).apply("a") == "b.4"


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        (
            "b.{{left(1,2)}}.$2",
            D + "the only mapping function allowed for import transforms is {{Wildcard()}} in {{left(1,2)}}",
        ),
        ("b.$1", D + "not using all of the token wildcard(s) in b.$1"),
    ],
)
def test_imports_have_to_be_reversible(destination: str, text: str) -> None:
    with pytest.raises(BadTransform) as caught:
        Transform("a.*.*", destination, strict=True)
    assert str(caught.value) == text


def test_references() -> None:
    assert with_references("a.*.b.*.>") == "a.$1.b.$2.>"
    assert without_references("a.$2.{{wildcard(1)}}.$x.$0.>") == (
        "a.*.*.$x.$0.>",
        ["$2", "{{wildcard(1)}}"],
    )
