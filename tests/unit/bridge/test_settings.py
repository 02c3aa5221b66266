"""Settings that cannot work say so when they are made, whichever way they are made."""

from typing import Any

import msgspec
import pytest
from tests.support.rows import each

from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.errors import ConfigError

GOOD = {"device": "/dev/ttyUSB0", "subject": "tele.a"}


@each(
    ("change", "text"),
    [
        ({"device": "ttyUSB0"}, "absolute path"),
        ({"device": "/dev/"}, "folder"),
        ({"name": "a\r\nX: y"}, "header"),
        ({"name": "é"}, "header"),
        ({"baud": 0}, "baud"),
        ({"bytesize": 9}, "bytesize 9 is none of 5, 6, 7, 8"),
        ({"parity": "E"}, "parity"),
        ({"stopbits": 3}, "stopbits"),
        ({"framing": "zmodem"}, "line, raw"),
        ({"max_frame_bytes": 0}, "max_frame_bytes"),
        ({"max_frame_bytes": 1 << 20}, "max_frame_bytes"),
        ({"idle_gap_ns": -1}, "idle_gap"),
        ({"framing": {"type": "fixed", "size": 9}}, "needs a start"),
        ({"decode": "xml"}, "none of text"),
        ({"decode": "json", "subject": "", "command_subject": "a"}, "decode needs a subject"),
        ({"shape": {"window": "1s"}}, "shape needs decode"),
        ({"decode": "json", "shape": {"window": "soon"}}, "soon"),
        ({"decode": "json", "shape": {"windw": "1s"}}, "windw"),
        ({"decode": "json", "shape": {"numbers": ["median"]}}, "median"),
        ({"decode": "json", "shape": {"convert": {"t": "degC"}}}, "degC"),
        ({"retry_min_ns": 0}, "retry_min"),
        ({"retry_min_ns": 2, "retry_max_ns": 1}, "retry_min"),
        ({"subject": ""}, "needs a subject"),
        ({"subject": "a..b"}, "not a valid subject"),
        ({"subject": "a" * 1025}, "not a valid subject"),
        ({"subject": "a b"}, "not a valid subject"),
        ({"subject": "a\r\nPUB x 0"}, "not a valid subject"),
        ({"subject": "a.*"}, "wildcard"),
        ({"command_subject": "a.>.b"}, "not a valid subject"),
        ({"command_subject": "tele.a"}, "its own output"),
        ({"command_subject": "tele.*"}, "its own output"),
        ({"command_subject": ">"}, "its own output"),
        ({"command_subject": "tele.a.>"}, "includes port_subject 'tele.a.[$]port'"),
        ({"command_subject": "tele.a.*"}, "its own output"),
        ({"command_subject": "evt.a", "port_subject": "evt.a"}, "its own output"),
        ({"command_subject": "tele.a.t", "decode": "json"}, "its own output"),
        ({"command_subject": "raw.*", "decode": "json", "raw_subject": "raw.a"}, "its own output"),
        ({"raw_subject": "raw.a"}, "raw_subject needs decode"),
        ({"port_subject": "evt.*"}, "wildcard"),
        ({"port_subject": "evt a"}, "not a valid subject"),
        ({"flow_control": "dsrdtr"}, "none of none, xonxoff, rtscts"),
        ({"dtr": "high"}, "none of on, off, keep"),
        ({"rts": ""}, "none of on, off, keep"),
        ({"flow_control": "rtscts", "rts": "off"}, "leave rts on"),
        ({"init": ["pause:1"]}, "init: time: missing unit"),
        ({"init": ["pause:2m"]}, "init: a pause must be"),
        ({"init": ["pause:-1s"]}, "init: a pause must be"),
        ({"init": [""]}, "init ''"),
        ({"init": ["\\xZZ"]}, "escape"),
        ({"silent_after_ns": 1}, "silent_after"),
        ({"capture": -1}, "capture"),
        ({"capture": 1 << 20}, "capture"),
        ({"device": "socket://h:1", "dtr": "off"}, "dtr means nothing for socket://"),
        ({"device": "socket://h:1", "baud": 9600}, "baud means nothing for socket://"),
        ({"device": "pty://a", "parity": "even"}, "parity means nothing for pty://"),
    ],
)
def test_refused(change: dict[str, Any], text: str) -> None:
    fields = {**GOOD, **change}
    with pytest.raises(ConfigError, match=text):
        SerialSettings(**fields)
    with pytest.raises(ConfigError, match=text):
        msgspec.convert(fields, SerialSettings)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="bauds"):
        msgspec.convert({**GOOD, "bauds": 9600}, SerialSettings)


@pytest.mark.parametrize(
    "command_subject", ["", "cmd.a", "cmd.>", "tele", "tele.*.x", "tele.a.set", "tele.b"]
)
def test_accepted(command_subject: str) -> None:
    settings = SerialSettings(**GOOD, command_subject=command_subject)  # type: ignore[arg-type]
    assert settings.command_subject == command_subject
    assert settings.name == "ttyUSB0"


def test_what_is_written_at_opening() -> None:
    settings = SerialSettings(**GOOD, init=("AT\\r", "pause:1.5s", "\x03\\xff"))  # type: ignore[arg-type]
    assert settings.greeting == (b"AT\r", 1_500_000_000, b"\x03\xff")


def test_a_port_speaks_beside_its_frames() -> None:
    assert SerialSettings(**GOOD).port_subject == "tele.a.$port"  # type: ignore[arg-type]
    assert SerialSettings(**GOOD, port_subject="evt.a").port_subject == "evt.a"  # type: ignore[arg-type]
    assert SerialSettings(device="/dev/x", command_subject="cmd.*").port_subject == ""
