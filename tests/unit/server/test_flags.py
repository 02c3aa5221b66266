"""Go's flag rules over the declared options."""

from typing import Any

import pytest

from phloem.shared.server.flags import UsageError, parse_flags


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("-p 5", {("port",): 5}),
        ("--port=5", {("port",): 5}),
        ("-port 0x10", {("port",): 16}),
        ("-p -1", {("port",): -1}),
        ("--addr 1.2.3.4 --net h", {("host",): "h"}),
        ("-D", {("debug",): True}),
        ("-T=false", {("logtime",): False}),
        ("--logtime_utc=T", {("logtime_utc",): True}),
        ("-DV", {("debug",): True, ("trace",): True}),
        ("-DVV", {("debug",): True, ("trace",): True, ("trace_verbose",): True}),
        ("-VV", {("trace",): True, ("trace_verbose",): True}),
        ("-DV=false", {("debug",): False, ("trace",): False}),
        (
            "--user u --pass=p --auth t",
            {("authorization", name): name[0] for name in ("user", "password", "token")},
        ),
        ("--log_format json", {("phloem", "log_format"): "json"}),
        ("-m 8222 -n x --pid=", {("http_port",): 8222, ("server_name",): "x", ("pid_file",): ""}),
        ("-log_size_limit 100", {("log_size_limit",): 100}),
    ],
)
def test_values(words: str, values: dict[Any, Any]) -> None:
    assert parse_flags(words.split()).values == values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-foo", "flag provided but not defined: -foo"),
        ("--foo=1", "flag provided but not defined: -foo"),
        ("-c", "flag needs an argument: -c"),
        ("-p x", 'invalid value "x" for flag -p: parse error'),
        ("-D=maybe", 'invalid boolean value "maybe" for -D: parse error'),
        ("---p", "bad flag syntax: ---p"),
        ("--=p", "bad flag syntax: --=p"),
        (
            "--log_format xml",
            'invalid value "xml" for flag -log_format: must be one of auto, text, json, journal',
        ),
    ],
)
def test_usage_error(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_flags(words.split())
    assert str(caught.value) == message


def test_parsing_ends_at_the_first_word() -> None:
    flags = parse_flags(["-D", "help", "-p", "x"])
    assert flags.words == ("help", "-p", "x")
    assert parse_flags(["--", "-D"]).words == ("-D",)
    assert parse_flags(["-"]).words == ("-",)


def test_asks() -> None:
    assert parse_flags(["-t", "-c", "f", "-v=false", "-help"]).asks == {"test", "help"}
    assert parse_flags(["-sl", "reload=1", "--config=f"])[2:4] == ("f", "reload=1")


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("--profile 0 --routes=", ()),
        ("--cluster nats://x:1", (("-cluster", "clustering"),)),
    ],
)
def test_missing_features(words: str, missing: tuple[Any, ...]) -> None:
    assert parse_flags(words.split()).missing == missing
