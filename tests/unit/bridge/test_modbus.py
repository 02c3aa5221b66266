"""Modbus devices that are asked: on a pseudo-terminal, over TCP, and pymodbus's own server."""

import asyncio
import json
import logging
import socket
import struct
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bridge.rig import WAIT_S, ManualTimers, MemoryPublisher, StandingClock, until
from tests.unit.bridge.test_asking import Asked
from tests.unit.bridge.test_session import Rig, closed, opened

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.framing.checks import CHECKS
from phloem.firmware_bridge.modbus.master import Master
from phloem.firmware_bridge.modbus.settings import polls_of
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.turns import Turns
from phloem.shared.errors import ConfigError

METER: dict[str, object] = {
    "unit": 3,
    "function": "input_registers",
    "address": 16,
    "every": "5s",
    "names": ["voltage", "_", "energy"],
    "types": ["u16", "u16", "f32"],
    "scale": [0.5, 1.0, 1.0],
    "units": ["V", "", "kW.h"],
}
ASKED = bytes.fromhex("03 04 0010 0004")
ANSWER = bytes.fromhex("03 04 08 01cc ffff") + struct.pack(">f", 12.5)
READINGS = [("tele.temp.voltage", {"v": 230.0, "u": "V"}), ("tele.temp.energy", {"v": 12.5, "u": "kW.h"})]
SECOND_NS = 10**9
GAP_NS = 1_750_000


def rtu(message: bytes) -> bytes:
    return message + CHECKS["crc16_modbus"].compute(message)


@pytest.fixture
async def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    rig = PollRig(tmp_path)
    rig.sensor.plug()
    return rig


class PollRig(Rig):
    """One whose port has no commands."""

    def bridge(self, **fields: Any) -> Any:
        return super().bridge(command_subject="", **fields)

    async def asked(self, message: bytes) -> None:
        assert await self.received.read(len(message) + 2) == rtu(message)

    async def readings(self, count: int) -> list[tuple[str, Any]]:
        messages = [await self.publisher.next() for _ in range(count)]
        return [(message.subject, json.loads(message.payload)) for message in messages]


async def test_polls_over_rtu_become_readings(rig: PollRig) -> None:
    async with rig.bridge(poll=(METER,), raw_subject="raw.temp") as session:
        await opened(session)
        await rig.asked(ASKED)
        rig.sensor.write(rtu(ANSWER)[:5])
        rig.sensor.write(rtu(ANSWER)[5:])
        raw = await rig.publisher.next()
        assert await rig.readings(2) == READINGS
        assert (await rig.timers.fire()).delay_ns == 5 * SECOND_NS
        await rig.timers.fire(0)  # the line has rested, and it is asked again
    assert (raw.subject, raw.payload) == ("raw.temp", ANSWER)
    counters = session.counters
    assert (counters.polls, counters.polls_failed, counters.frames, counters.readings) == (2, 0, 1, 2)
    assert counters.dropped_bytes == 0


async def test_every_so_often_and_in_turn(rig: PollRig) -> None:
    coils = {"unit": 1, "function": "coils", "every": "2s", "names": ["pump", "valve"]}
    async with rig.bridge(poll=(METER, coils)) as session:
        await opened(session)
        await rig.asked(ASKED)
        rig.sensor.write(rtu(ANSWER))
        assert await rig.readings(2) == READINGS
        delays = []
        while (timer := await rig.timers.fire()).delay_ns != GAP_NS:
            delays.append(timer.delay_ns)
        await rig.asked(bytes.fromhex("01 01 0000 0002"))
        rig.sensor.write(rtu(bytes.fromhex("01 01 01 02")))
        assert await rig.readings(2) == [("tele.temp.pump", {"v": False}), ("tele.temp.valve", {"v": True})]
    assert 2 * SECOND_NS in delays


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "no answer within 1 s"),
        (rtu(ANSWER[:-1]) + b"x", "the answer is damaged within 1 s"),
        (rtu(b"\x04" + ANSWER[1:]), "no answer within 1 s"),  # of another unit
        (rtu(b"\x03\x84\x02"), "no such address"),
        (rtu(b"\x03\x84\x63"), "exception 99"),
        (rtu(bytes.fromhex("03 04 02 01cc")), "it answers with 1 of 4"),
    ],
)
async def test_what_is_no_answer_is_said_once(rig: PollRig, answer: bytes, reason: str) -> None:
    async with rig.bridge(poll=(METER,)) as session:
        await opened(session)
        for failures in (1, 2):
            await rig.asked(ASKED)
            if answer:
                rig.sensor.write(answer)
            if "within" in reason:
                await until(lambda times=failures: session.counters.dropped_bytes >= times * len(answer))
                while (await rig.timers.fire(0)).delay_ns != SECOND_NS:
                    pass
            await until(lambda failed=failures: session.counters.polls_failed == failed)
            rig.clock.now_ns += 60 * SECOND_NS
            while session.counters.polls == failures:
                await rig.timers.fire(0)
        await rig.asked(ASKED)
        rig.sensor.write(rtu(ANSWER))
        assert await rig.readings(2) == READINGS
        await rig.publisher.happened("poll_works")
    assert rig.publisher.kinds == ["opened", "poll_failed", "poll_works", "closed"]
    assert json.loads(rig.publisher.events[1].payload)["reason"] == f"unit 3, input_registers 16: {reason}"


async def test_a_device_that_is_not_there_is_asked_less_often(rig: PollRig) -> None:
    async with rig.bridge(poll=(METER,)) as session:
        await opened(session)
        entry = session._master._entries[0]
        pauses = []
        for failures in range(1, 7):
            while session.counters.polls_failed < failures:
                await rig.timers.fire()
            pauses.append(entry.next_ns() // SECOND_NS)
    assert pauses == [10, 20, 40, 60, 60, 60]


async def test_requests_go_between_polls(rig: PollRig) -> None:
    async with rig.bridge(poll=(METER,), request_subject="ask.temp") as session:
        await opened(session)
        await rig.asked(ASKED)
        write = bytes.fromhex("03 06 0010 002a")
        rig.sensor.write(rtu(ANSWER))
        assert await rig.readings(2) == READINGS
        asked = Asked(rig, write)  # the line rests
        while (await rig.timers.fire(0)).delay_ns != GAP_NS:
            pass
        await rig.asked(write)
        rig.sensor.write(rtu(write))
        assert await asked.answer() == write
        assert await Asked(rig, b"\x03").error() == "the device takes no more bytes"
        assert session.counters.polls == 1


async def test_a_device_that_goes_ends_an_exchange(rig: PollRig) -> None:
    async with rig.bridge(poll=(METER,)) as session:
        await opened(session)
        await rig.asked(ASKED)
        rig.sensor.unplug()
        await closed(session)
        rig.sensor.plug()
        await rig.timers.fire()
        await opened(session)
        await rig.asked(ASKED)
        rig.sensor.write(rtu(ANSWER))
        assert await rig.readings(2) == READINGS
        assert session.counters.polls_failed == 0


async def test_over_tcp_with_numbers(tmp_path: Path) -> None:
    clock, publisher = StandingClock(), MemoryPublisher()
    timers = ManualTimers(clock)
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        port = SerialSettings(
            device=f"socket://127.0.0.1:{listening.getsockname()[1]}", subject="tele.temp", poll=(METER,)
        )
        async with Bridge([port], publisher, clock, Random(1), call_later=timers):
            connection, _ = await asyncio.wait_for(loop.sock_accept(listening), WAIT_S)
            with connection:
                head = struct.pack(">HHH", 1, 0, 6)
                assert await asyncio.wait_for(loop.sock_recv(connection, 100), WAIT_S) == head + ASKED
                stale = struct.pack(">HHH", 7, 0, len(ANSWER)) + ANSWER
                answer = struct.pack(">HHH", 1, 0, len(ANSWER)) + ANSWER
                await loop.sock_sendall(connection, stale + answer[:9])
                await loop.sock_sendall(connection, answer[9:])
                messages = [await publisher.next() for _ in range(2)]
    assert [(m.subject, json.loads(m.payload)) for m in messages] == READINGS


async def test_pymodbus_own_server() -> None:
    """Somebody else's idea of the protocol."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    device = SimDevice(id=3, simdata=[SimData(16, values=[460, 7, 0x4148, 0], datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    clock, publisher = StandingClock(), MemoryPublisher()
    try:
        number = server.transport.sockets[0].getsockname()[1]
        beyond = METER | {"address": 500, "names": ["nothing", "_", "at_all"]}
        port = SerialSettings(
            device=f"socket://127.0.0.1:{number}",
            subject="tele.temp",
            poll=(METER, beyond),
            request_subject="ask.temp",
        )
        async with Bridge([port], publisher, clock, Random(1), call_later=ManualTimers(clock)) as bridge:
            messages = [await publisher.next() for _ in range(2)]
            await publisher.happened("poll_failed")
            answers: asyncio.Queue[bytes] = asyncio.Queue()
            publisher.requests["ask.temp"](
                bytes.fromhex("03 06 0010 002a"), lambda data, _headers: answers.put_nowait(data)
            )
            assert await asyncio.wait_for(answers.get(), WAIT_S) == bytes.fromhex("03 06 0010 002a")
            publisher.requests["ask.temp"](
                bytes.fromhex("03 03 0010 0001"), lambda data, _headers: answers.put_nowait(data)
            )
            assert await asyncio.wait_for(answers.get(), WAIT_S) == bytes.fromhex("03 03 02 002a")
            assert bridge.sessions[0].counters.polls == 2
    finally:
        await server.shutdown()
    assert [(m.subject, json.loads(m.payload)) for m in messages] == READINGS
    assert json.loads(publisher.events[1].payload)["reason"] == "unit 3, input_registers 500: no such address"


@settings(max_examples=60)
@given(st.sampled_from(["rtu", "tcp"]), st.lists(st.binary(max_size=40) | st.just(rtu(ANSWER)), max_size=12))
def test_any_bytes_are_borne_and_none_are_kept(kind: str, pieces: list[bytes]) -> None:
    clock, counters, timers = StandingClock(), Counters(), ManualTimers()
    port = SerialSettings(device="/dev/x", subject="tele.a", poll=(METER,), modbus=kind)
    heard = list[bytes]()
    master = Master(
        port,
        port.polls,
        Turns(timers),
        clock,
        counters,
        timers,
        heard.append,
        lambda _readings: None,
        lambda _kind, _reason: None,
    )
    master.opened(lambda _data: True)
    for piece in pieces:
        master.received(piece)
    assert len(master._buffer) <= 600
    assert len(heard) <= 1
    assert counters.polls == 1
    master.closed()


def test_types_orders_and_bits() -> None:
    wide = {"every": "1s", "names": ["a", "b", "c"], "types": ["i16", "u32", "i64"], "word_order": "little"}
    (poll,) = polls_of([wide])
    words = [0xFFFE, 0x0002, 0x0001, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF]
    assert [reading.value for reading in poll.read(words, 5)] == [-2, 0x10002, -1]
    assert (poll.size, poll.read(words, 5)[0].mono_ns) == (7, 5)
    (floats,) = polls_of([{"every": "1s", "names": "x", "types": "f32"}])
    assert floats.read([0x7FC0, 0], 0) == []  # no number


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"every": "1ms"}, "at least 10ms"),
        ({"every": 5}, "every must be a duration"),
        ({"function": "registers"}, "function 'registers' is none of coils"),
        ({"unit": 256}, "unit is not between"),
        ({"names": ["a.b", "b", "c"]}, "not one token"),
        ({"names": ["_", "_", "_"]}, "names has no name"),
        ({"types": ["u16", "u16"]}, "types has 2 entries for 3 names"),
        ({"types": "u24"}, "type 'u24' is none of"),
        ({"scale": [1.0, 0.0, 1.0]}, "scale must be"),
        ({"count": 3}, "count 3 is not what 4 registers"),
        ({"count": 126}, "too many"),
        ({"function": "coils"}, "bits: they have no types"),
        ({"word_order": "middle"}, "word_order"),
        ({"names": ["a", "b", "a"]}, "two readings have the name 'a'"),
        ({"retries": 3}, "unknown field"),
    ],
)
def test_polls_that_cannot_work(change: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        polls_of([METER | change])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"modbus": "tcp"}, "modbus needs poll"),
        ({"modbus": "ascii", "poll": (METER,)}, "modbus 'ascii' is none of rtu, tcp"),
        ({"framing": "raw", "poll": (METER,)}, "framing means nothing with poll"),
        ({"decode": "text", "poll": (METER,)}, "decode means nothing with poll"),
        ({"command_subject": "cmd.x", "poll": (METER,)}, "command_subject means nothing with poll"),
        ({"poll": (METER,) * 65}, "more than 64"),
        ({"subject": "", "request_subject": "ask.x", "poll": (METER,)}, "poll needs a subject"),
        ({"protocol": "edgelink", "poll": (METER,)}, "poll means nothing with protocol"),
    ],
)
def test_settings_that_cannot_work(fields: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        SerialSettings(**{"device": "/dev/x", "subject": "tele.a", **fields})  # type: ignore[arg-type]


def test_rtu_and_tcp() -> None:
    def kind(device: str, **more: Any) -> str:
        return SerialSettings(device=device, subject="tele.a", poll=(METER,), **more).modbus_kind

    assert [kind("/dev/x"), kind("socket://h:502"), kind("rfc2217://h:1")] == ["rtu", "tcp", "rtu"]
    assert kind("socket://h:502", modbus="rtu") == "rtu"
    assert limits.POLLS_MAX == 64
