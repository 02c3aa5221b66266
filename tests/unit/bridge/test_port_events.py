"""What a port says of itself: events, state, recent traffic; silence, and lines that make no sense."""

import asyncio
import fcntl
import json
import logging
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from termios import TIOCM_DTR, TIOCM_RTS, TIOCMBIC, TIOCMBIS
from typing import Any

import pytest
from tests.unit.bridge.rig import WAIT_S, Bytes, ManualTimers, MemoryPublisher, StandingClock

from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.port import LineErrors
from phloem.firmware_bridge.port_tty import TIOCGICOUNT, TtyLine, read_counters
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.limits import SECOND_NS

PORT = "tele.temp.$port"


class Rig:
    def __init__(self, path: Path) -> None:
        self.clock = StandingClock()
        self.timers = ManualTimers(self.clock)
        self.publisher = MemoryPublisher()
        self.received = Bytes()
        self.sensor = SimulatedSensor(path / "sensor", self.clock, Random(1), on_bytes=self.received)

    @asynccontextmanager
    async def bridge(self, **fields: Any) -> AsyncIterator[Session]:
        self.sensor.plug()
        settings = SerialSettings(
            device=str(self.sensor.link), subject="tele.temp", command_subject="cmd.temp", **fields
        )
        bridge = Bridge(
            [settings], self.publisher, self.clock, Random(2), call_later=self.timers, hotplug=False
        )
        async with bridge:
            await asyncio.wait_for(bridge.sessions[0].wait_open(), WAIT_S)
            yield bridge.sessions[0]
        self.sensor.unplug()

    def ask(self, request: str) -> tuple[bytes, dict[str, str]]:
        payload, headers = self.publisher.ask(PORT, request.encode())
        return payload, dict(headers)

    async def says(self, data: bytes) -> None:
        """The device says ``data`` and the bridge has read it."""
        for at in range(0, len(data), 4096):
            size = self.session_bytes() + len(data[at : at + 4096])
            assert self.sensor.write(data[at : at + 4096])
            while self.session_bytes() < size:  # noqa: ASYNC110  (the kernel's buffer tells nobody)
                await asyncio.sleep(0)

    def session_bytes(self) -> int:
        return int(json.loads(self.ask("state")[0])["bytes_read"])


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    return Rig(tmp_path)


async def test_events_and_states(rig: Rig) -> None:
    async with rig.bridge():
        await rig.says(b"21.5\n")
        rig.clock.now_ns += 3 * SECOND_NS
        rig.sensor.unplug()
        await rig.publisher.happened("lost")
        await rig.timers.waiting()
        state = json.loads(rig.ask("")[0])
    first, second = rig.publisher.events
    assert (first.subject, second.subject) == (f"{PORT}.opened", f"{PORT}.lost")
    assert json.loads(first.payload) == {"event": "opened", "device": str(rig.sensor.link)}
    assert json.loads(second.payload)["reason"] == "unplugged"
    assert [event.seq for event in rig.publisher.events] == [1, 2]
    assert second.headers["Phloem-Port"] == "sensor"
    assert second.headers["Phloem-Time"] == "1800000004000000000"
    assert [json.loads(each.payload)["state"] for each in rig.publisher.states] == ["open", "lost"]
    assert {name: state[name] for name in ("state", "reason", "path", "frames", "losses", "opens")} == {
        "state": "lost",
        "reason": "unplugged",
        "path": "",
        "frames": 1,
        "losses": 1,
        "opens": 1,
    }
    assert state["frame_age_s"] == 3
    assert rig.publisher.requests == {}  # nobody is left who would answer


async def test_the_end_of_an_open_port_is_said(rig: Rig) -> None:
    async with rig.bridge():
        pass
    assert rig.publisher.kinds == ["opened", "closed"]
    assert json.loads(rig.publisher.states[-1].payload)["state"] == "closed"


async def test_init_strings_with_pauses(rig: Rig) -> None:
    async with rig.bridge(init=("ATZ\\r", "pause:500ms", "\x03")) as session:
        assert await rig.received.read(4) == b"ATZ\r"
        assert (await rig.timers.fire()).delay_ns == SECOND_NS // 2
        assert await rig.received.read(1) == b"\x03"
        assert session.counters.bytes_written == 5


async def test_a_device_that_goes_away_while_it_is_greeted(rig: Rig) -> None:
    async with rig.bridge(init=("a", "pause:1s", "b")) as session:
        assert await rig.received.read(1) == b"a"
        rig.sensor.unplug()
        await rig.timers.fire()
        await rig.publisher.happened("lost")
        assert session.counters.bytes_written == 1


async def test_recent_traffic_can_be_asked_for(rig: Rig) -> None:
    async with rig.bridge():
        await rig.says(b"21.5\x00\n")
        rig.clock.now_ns += SECOND_NS
        rig.publisher.callbacks["cmd.temp"](b"led on\n")
        text, headers = rig.ask("capture")
        assert text.decode().splitlines() == [
            "2027-01-15T08:00:01.000000Z < 32 31 2e 35 00 0a  21.5..",
            "2027-01-15T08:00:02.000000Z > 6c 65 64 20 6f 6e 0a  led on.",
        ]
        assert headers["Phloem-Port"] == "sensor"
        assert rig.ask("capture raw")[0] == b"21.5\x00\n"
        assert rig.ask("fault") == (b"", headers | {"Phloem-Error": "there was no fault"})
        assert "ask for state" in rig.ask("nonsense")[1]["Phloem-Error"]
        assert "ask for state" in rig.ask("capture cooked")[1]["Phloem-Error"]
        assert "ask for state" in rig.publisher.ask(PORT, b"\xff")[1]["Phloem-Error"]


async def test_a_fault_keeps_what_was_before_it(rig: Rig) -> None:
    async with rig.bridge() as session:
        await rig.says(b"last words")
        rig.sensor.unplug()
        await rig.publisher.happened("lost")
        await rig.timers.waiting()
        rig.sensor.plug()
        await rig.timers.fire()
        await asyncio.wait_for(session.wait_open(), WAIT_S)
        await rig.says(b"again\n")
        words, headers = rig.ask("fault raw")
        assert words == b"last words"
        assert headers["Phloem-Event"] == "lost"
        assert rig.ask("capture raw")[0] == b"last wordsagain\n"


async def test_without_capture(rig: Rig) -> None:
    async with rig.bridge(capture=0):
        await rig.says(b"x\n")
        assert "capture is 0" in rig.ask("capture")[1]["Phloem-Error"]


async def test_an_answer_fits_into_a_message(rig: Rig) -> None:
    rig.publisher.payload_max = 100
    async with rig.bridge():
        await rig.says(b"x" * 64 + b"\n" + b"y" * 30 + b"\n")
        assert len(rig.ask("capture")[0]) <= 100
        assert rig.ask("capture raw")[0].endswith(b"y\n")


async def test_raw_beside_readings(rig: Rig) -> None:
    async with rig.bridge(decode="number", raw_subject="raw.temp"):
        await rig.says(b"21.5\nx\n")
        messages = [await rig.publisher.next() for _ in range(3)]
    assert [(m.subject, m.payload, m.seq) for m in messages] == [
        ("raw.temp", b"21.5", 1),
        ("raw.temp", b"x", 2),
        ("tele.temp.value", b'{"v":21.5}', 1),
    ]


async def test_a_silent_device_is_opened_again_and_said_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge(silent_after_ns=30 * SECOND_NS) as session:
        await rig.timers.waiting()
        rig.clock.now_ns += 20 * SECOND_NS
        await rig.says(b"1\n")
        await rig.timers.fire(after_ns=10 * SECOND_NS)  # 30 s after the opening, 10 s after the last byte
        assert session.is_open
        for _ in range(3):
            assert (await rig.timers.fire()).delay_ns in (20 * SECOND_NS, 30 * SECOND_NS)
            await asyncio.wait_for(session.wait_closed(), WAIT_S)
            await rig.timers.fire()
            await asyncio.wait_for(session.wait_open(), WAIT_S)
        assert rig.publisher.kinds == ["opened", "silent"]
        assert session.counters.silences == 3
        await rig.says(b"2\n")
        assert rig.publisher.kinds == ["opened", "silent", "opened"]
    assert len(caplog.records) == 1
    assert "nothing came for 30 s; it is opened anew" in caplog.text


async def test_a_line_that_makes_no_sense_is_one_event_until_it_does(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    noise = Random(3)
    async with rig.bridge() as session:
        for _ in range(20):
            await rig.says(b"21.5\n")
        for _ in range(200):  # a wrong speed
            await rig.says(bytes(noise.choice((0x80, 0xF8, 0xFE, 0x00)) for _ in range(30)) + b"\n")
        assert session.figures()["garbled"]
        assert rig.publisher.kinds == ["opened", "garbled"]
        fault, headers = rig.ask("fault raw")
        assert headers["Phloem-Event"] == "garbled"
        assert b"\xf8" in fault
        for _ in range(100):
            await rig.says(b"21.5\n")
        assert rig.publisher.kinds == ["opened", "garbled", "clear"]
    assert len(caplog.records) == 1


def counted(**kinds: int) -> bytes:
    """``struct serial_icounter_struct``: cts, dsr, rng, dcd, rx, tx, frame, overrun, parity, brk, buf_overrun."""
    places = {"frame": 6, "overrun": 7, "parity": 8, "brk": 9, "buffer_overrun": 10}
    values = [0] * 20
    for kind, count in kinds.items():
        values[places[kind]] = count
    return struct.pack("20i", *values)


def test_the_drivers_counters() -> None:
    assert read_counters(counted(frame=1, overrun=2, parity=3, brk=4, buffer_overrun=5)) == LineErrors(
        1, 2, 3, 4, 5
    )
    assert read_counters(counted(frame=-1)).frame == (1 << 32) - 1
    assert LineErrors(frame=5).since(LineErrors(frame=3)) == LineErrors(frame=2)
    assert LineErrors(frame=2).since(LineErrors(frame=3)) == LineErrors(
        frame=2
    )  # the adapter was plugged in anew


async def test_errors_on_the_wire_count_from_the_opening_and_tell_of_a_wrong_speed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = LineErrors(frame=1000, parity=7)  # of who had the port before
    monkeypatch.setattr(TtyLine, "errors", lambda _: errors)
    async with rig.bridge(framing="raw") as session:
        assert session.figures()["line_errors"]["frame"] == 0
        for _ in range(10):
            rig.clock.now_ns += SECOND_NS
            errors = LineErrors(frame=errors.frame + 50, parity=7)
            await rig.says(b"\xf8\x80")
        figures = session.figures()
        assert (figures["line_errors"]["frame"], figures["line_errors"]["parity"]) == (500, 0)
        assert figures["garbled"]
    assert session.counters.line_errors.frame == 500


async def test_a_pseudo_terminal_has_no_counters(rig: Rig) -> None:
    async with rig.bridge() as session:
        assert session.figures()["line_errors"] == LineErrors()._asdict()
        port = session._port
        assert port is not None
        with pytest.raises(OSError, match="ioctl"):
            fcntl.ioctl(port.line.fileno(), TIOCGICOUNT, bytes(80))


@pytest.mark.parametrize(
    ("dtr", "rts", "moved", "hangs_up"),
    [
        ("on", "on", [(TIOCMBIS, TIOCM_DTR), (TIOCMBIS, TIOCM_RTS)], True),
        ("off", "on", [(TIOCMBIC, TIOCM_DTR), (TIOCMBIS, TIOCM_RTS)], True),
        ("keep", "off", [(TIOCMBIC, TIOCM_RTS)], False),
        ("keep", "keep", [], False),
    ],
)
async def test_dtr_and_rts(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    dtr: str,
    rts: str,
    moved: list[tuple[int, int]],
    hangs_up: bool,
) -> None:
    """A pseudo-terminal has no such lines; what is asked of the kernel is what a tty would do."""
    asked: list[tuple[int, int]] = []
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, *more: Any) -> Any:
        if request in (TIOCMBIS, TIOCMBIC):
            asked.append((request, struct.unpack("I", more[0])[0]))
        return real(fd, request, *more)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    rig.sensor.plug()
    host = rig.sensor._ends[1] if rig.sensor._ends else -1
    attributes = termios.tcgetattr(host)
    attributes[2] |= termios.HUPCL  # as a tty has it
    termios.tcsetattr(host, termios.TCSANOW, attributes)
    async with rig.bridge(dtr=dtr, rts=rts) as session:
        port = session._port
        assert port is not None
        # A line that fails with ENOTTY ends pyserial's look at the others.
        assert asked == moved[: len(asked)]
        assert bool(asked) == bool(moved)
        # Without HUPCL the lines stay as they are when the port is closed.
        assert bool(termios.tcgetattr(port.line.fileno())[2] & termios.HUPCL) is hangs_up


async def test_programs_that_ask_for_no_lock_are_kept_out_while_it_is_open(rig: Rig) -> None:
    async with rig.bridge() as session:
        port = session._port
        assert port is not None
        assert is_exclusive(port.line.fileno())
        host = rig.sensor._ends[1] if rig.sensor._ends else -1
        assert is_exclusive(host)  # the same terminal, which the sensor holds as well
        port.close()
        assert not is_exclusive(host)


def is_exclusive(fd: int) -> bool:
    """By TIOCGEXCL, as root passes the kernel's check."""
    (exclusive,) = struct.unpack("i", fcntl.ioctl(fd, 0x80045440, bytes(4)))
    return bool(exclusive)


@pytest.mark.parametrize(
    ("flow", "software", "hardware"), [("xonxoff", True, False), ("rtscts", False, True)]
)
async def test_flow_control(rig: Rig, flow: str, software: bool, hardware: bool) -> None:
    async with rig.bridge(flow_control=flow) as session:
        port = session._port
        assert port is not None
        iflag, _, cflag, *_ = termios.tcgetattr(port.line.fileno())
        assert bool(iflag & termios.IXON and iflag & termios.IXOFF) is software
        assert bool(cflag & termios.CRTSCTS) is hardware
