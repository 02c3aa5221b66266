"""From ``serial`` blocks to the bridge's settings."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from phloem.edge.ports import port_settings
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load, load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.options_phloem import Serial

BLOCK = {"device": "/dev/ttyUSB0", "subject": "tele.a"}


def options(**blocks: dict[str, Any]) -> Options:
    return merge(load_mapping({"serial": blocks}), {})


def test_every_field_arrives() -> None:
    block = {
        **BLOCK,
        "command_subject": "cmd.a",
        "baud": 9600,
        "bytesize": 7,
        "parity": "even",
        "stopbits": 2,
        "flow_control": "xonxoff",
        "dtr": "keep",
        "rts": False,  # what a file's bare off is read as
        "init": ["ATZ\\r", "pause:500ms"],
        "silent_after": "30s",
        "capture": 64 << 10,
        "raw_subject": "raw.a",
        "port_subject": "evt.a",
        "framing": {"type": "delimiter", "delimiter": ";"},
        "idle_gap": "20ms",
        "decode": {"type": "csv", "columns": ["t:Cel"]},
        "shape": {"changes": {"deadband": 0.5, "max_interval": "60s"}},
        "process": {"function": "cooling:dew_point", "timeout": "2s"},
        "export": ["pty://scale", "rfc2217://:2217"],
        "request_subject": "ask.a",
        "request_match": "^OK",
        "request_timeout": "3s",
        "max_frame_bytes": 99,
        "retry_min": "1s",
        "retry_max": "2s",
    }
    (settings,) = port_settings(options(scale=block))
    expected = {
        **block,
        "name": "scale",
        "protocol": "",  # has a case of its own: it excludes most of these
        "images": {},  # so do these, in tests/unit/bridge/images
        "poll": (),  # the same
        "modbus": "",
        "export": ("pty://scale", "rfc2217://:2217"),
        "request_timeout_ns": 3 * 10**9,
        "retry_min_ns": 10**9,
        "retry_max_ns": 2 * 10**9,
        "idle_gap_ns": 20_000_000,
        "silent_after_ns": 30 * 10**9,
        "rts": "off",
        "init": ("ATZ\\r", "pause:500ms"),
    }
    del expected["silent_after"], expected["request_timeout"]
    del expected["retry_min"], expected["retry_max"], expected["idle_gap"]
    assert msgspec.structs.asdict(settings) == expected


@pytest.mark.parametrize(
    "poll",
    [
        "{ unit: 3, function: input_registers, every: 5s, names: [voltage, energy], types: [u16, f32] }",
        '[{ unit: 3, function: input_registers, every: "5s", names: [voltage], scale: 0.1 }\n'
        "  { unit: 4, function: coils, every: 5s, names: [pump, _, valve] }]",
    ],
)
def test_polls_in_a_file(poll: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.conf"
    file.write_text(f"serial {{ a {{ device: /dev/ttyUSB0, subject: tele.a, modbus: rtu, poll: {poll} }} }}")
    (settings,) = port_settings(merge(load(str(file)), {}))
    assert [entry.unit for entry in settings.polls] == [3, 4][: len(settings.poll)]
    assert settings.polls[0].channels[0] == "voltage"
    assert settings.polls[0].every_ns == 5 * 10**9


def test_examples_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "serial.md").read_text()
    file = tmp_path / "edge.conf"
    blocks = re.findall(r"(?m)^    serial \{(?: .*\}\n|\n(?:     .*\n)+    \}\n)", text)
    assert len(blocks) == 4
    for block in blocks:
        file.write_text(block)
        assert port_settings(merge(load(str(file)), {}))
    for start in ("    decode { type: csv", "    process { function"):
        entry = text[text.index(start) :].partition("\n\n")[0]
        decode = "" if "decode" in entry else "decode: number"
        file.write_text(f"serial {{ a {{ device: /dev/x, subject: a\n{decode}\n{entry}\n}} }}")
        assert port_settings(merge(load(str(file)), {}))


def test_no_field_of_a_block_is_forgotten() -> None:
    (settings,) = port_settings(options(a=BLOCK))
    known = set(msgspec.structs.asdict(settings))
    assert {field.name for field in msgspec.structs.fields(Serial)} <= known


def test_order_and_defaults() -> None:
    second = {"device": "/dev/ttyUSB1", "command_subject": "cmd.b"}
    first, other = port_settings(options(a=BLOCK, b=second))
    assert (first.name, first.baud, first.framing) == ("a", 115_200, "line")
    assert (other.name, other.subject, other.command_subject) == ("b", "", "cmd.b")
    assert port_settings(merge(None, {})) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"device": "ttyUSB0"},
            "serial \"a\": device 'ttyUSB0' is not an absolute path such as /dev/ttyUSB0, nor by-id:NAME, "
            "by-path:NAME, usb:VID:PID[:SERIAL], socket://HOST:PORT, rfc2217://HOST:PORT or pty://NAME",
        ),
        (
            {"command_subject": "tele.>"},
            "serial \"a\": command_subject 'tele.>' includes subject 'tele.a': the device would be sent its own output",
        ),
    ],
)
def test_what_cannot_work_names_its_block(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        port_settings(options(a={**BLOCK, **change}))
    assert str(error.value) == text


def test_two_blocks_for_one_device() -> None:
    with pytest.raises(ConfigError, match="two serial ports have the device '/dev/ttyUSB0'"):
        port_settings(options(a=BLOCK, b=BLOCK))
    other = {**BLOCK, "device": "/dev/ttyUSB1"}
    with pytest.raises(ConfigError, match="two serial ports have the export 'pty://x'"):
        port_settings(
            options(a={**BLOCK, "export": "pty://x"}, b={**other, "export": ["pty://y", "pty://x"]})
        )
