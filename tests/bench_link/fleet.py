"""What a hub pays for each of its devices: a thousand of them in one process, who speak the protocol of leaf links raw.

Each has a link of its own, says what it listens to, and sends one reading every ten seconds that the hub's disk has to
have before it answers. To our hub that is store-and-forward as the edge speaks it: HELLO, then parcels that are
acknowledged. nats-server's hub has what is nearest: a stream that takes what the leaves publish, and answers.
Links are not compressed on either side, which spares nats-server its encoder for each of them.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nats

from phloem.edge.forward.squeeze import Dictionaries
from phloem.shared.engine.parcel import Packer
from phloem.shared.forward.messages import (
    SOON,
    VERSION,
    WITH_HISTORY,
    ZSTD,
    Ack,
    Epoch,
    Hello,
    Offer,
    Parcel,
    Welcome,
    decode,
    down_subject,
    encode,
    encode_parcel,
    history,
    up_subject,
)
from phloem.shared.store.log import Log
from phloem.shared.store.store import Store
from tests.bench_link.pairs import OurPair, Pair
from tests.bench_link.readings import readings
from tests.bench_link.sizes import Size
from tests.support.server_process import ServerProcess

EVERY_S = 10.0
COMING = 20  # devices that come at the same time
WAIT_S = 120.0
CONNECT = b'CONNECT {"name":"%s","server_id":"%s","version":"2.15.1","headers":true,"no_responders":true}\r\n'
START_MS = 1_780_000_000_000


class Hub(NamedTuple):
    """Figures of one run; sizes in bytes, of memory as ``VmRSS`` has it."""

    resident: float
    each: float  # what a device adds, and what it has sent by then
    cpu_s: float  # of one device in a minute


class Device(asyncio.Protocol):
    """One end of a link. ``sent`` readings, of which the hub has acknowledged ``acked``."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.sent = self.acked = 0
        self.ready = asyncio.get_running_loop().create_future()
        self._left = b""
        self._transport: asyncio.Transport

    listens: bytes = b""
    _came = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("the hub does not want the device"))

    def data_received(self, data: bytes) -> None:
        if self._left:
            data = self._left + data
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            used = end + 2
            if data.startswith(b"LS", at):  # what the hub tells of the other devices, once for each of them
                at = used
                continue
            line = data[at:end]
            if line.startswith(b"LMSG "):
                used += int(line.rpartition(b" ")[2]) + 2
                if len(data) < used:
                    break
                self._heard(data[end + 2 : used - 2])
            elif line == b"PING":
                self._transport.write(b"PONG\r\n")
            elif line.startswith(b"INFO ") and not self._came:
                self._come()
            elif line == b"PONG":
                self._linked()
            elif line.startswith(b"-ERR"):
                raise AssertionError(line)
            at = used
        self._left = data[at:]

    def _come(self) -> None:
        self._came = True
        interest = b"LS+ $LDS.%s\r\nLS+ %s\r\n" % (self.name.ljust(22, b"x"), self.listens)
        self._transport.write(CONNECT % (self.name, self.name) + interest + b"PING\r\n")

    def _linked(self) -> None:
        self.ready.set_result(None)

    def _heard(self, payload: bytes) -> None:
        raise NotImplementedError

    def send(self) -> None:
        """The next reading."""
        raise NotImplementedError

    def publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        head = b" ".join(filter(None, (b"LMSG", subject, reply, b"%d" % len(payload))))
        self._transport.write(b"%s\r\n%s\r\n" % (head, payload))

    def leave(self) -> None:
        self._transport.abort()


class Forwarding(Device):
    """An edge of ours. ``parcels``: flags and columns, one reading each, the same for all devices."""

    def __init__(self, name: str, parcels: list[tuple[int, bytes]]) -> None:
        super().__init__(name)
        self._parcels = parcels
        self.listens = down_subject(name)
        self._session = hash(name) & 0xFFFFFFFF | 1

    def _linked(self) -> None:
        ident = self._session << 16 | 1
        offer = Offer(1, "tele", "", ident, (Epoch(ident, 1),), 1, len(self._parcels), 0)
        hello = Hello(VERSION, self.name.decode(), self._session, 1, START_MS * 1_000_000, (offer,))
        self.publish(up_subject(self.name.decode()), encode(hello))

    def _heard(self, payload: bytes) -> None:
        match decode(payload):
            case Welcome(places=(place,)) if not place.refused:
                self.ready.set_result(None)
            case Ack(order=order):
                self.acked = order
            case other:
                raise AssertionError(other)

    def send(self) -> None:
        flags, columns = self._parcels[self.sent]
        self.sent += 1
        parcel = Parcel(flags | SOON, self._session, self.sent, 1, 0, self.sent, self.sent + 1, columns)
        self.publish(up_subject(self.name.decode()), encode_parcel(parcel))


class Publishing(Device):
    """A leaf of nats-server whose publishes are acknowledged by the hub's stream."""

    def __init__(self, name: str, payloads: list[bytes]) -> None:
        super().__init__(name)
        self._payloads = payloads
        self.listens = b"ack." + self.name

    def _heard(self, payload: bytes) -> None:
        assert b'"seq"' in payload, payload
        self.acked += 1

    def send(self) -> None:
        self.publish(b"fleet.tele.%s.tele.boiler" % self.name, self._payloads[self.sent], self.listens)
        self.sent += 1


def parcels(payloads: list[bytes]) -> list[tuple[int, bytes]]:
    """Flags and columns of parcels with one reading each, as a sender compresses them in a session."""
    log, made, before = Log(), [], b""
    for i, payload in enumerate(payloads):
        log.append(b"tele.boiler", b"", payload, (START_MS + i * 10_000) * 1_000_000)
    packer = Packer(log)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(str(Path(folder) / "js"), seed=1, generation_bytes=1 << 20)
        store.open()
        squeeze = Dictionaries(store)
        for seq in range(1, len(payloads) + 1):
            packed = packer.pack(seq, seq, 1, 0)
            assert packed is not None
            flags = WITH_HISTORY if before else 0
            pressed = squeeze.press(packed.columns, "tele", flags, before)
            smaller = len(pressed) < len(packed.columns)
            flags = flags | ZSTD if smaller else 0
            made.append((flags, pressed if smaller else packed.columns))
            before = history(before, packed.columns, flags)
        store.close()
    return made


def devices(pair: Pair, size: Size, count: int) -> Iterator[Device]:
    """``count``: readings of each."""
    payloads = [payload for _, payload in readings(count)]
    columns = parcels(payloads)
    for i in range(size.devices):
        if isinstance(pair, OurPair):
            yield Forwarding(f"dev{i}", columns)
        else:
            yield Publishing(f"dev{i}", payloads)


def resident_bytes(pid: int) -> int:
    """``VmRSS``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


async def measure(pair: Pair, size: Size) -> tuple[float, ...]:
    """``Hub``. All devices come, send once, and from then on one reading every ten seconds for ``fleet_s`` seconds."""
    rounds = round(size.fleet_s / EVERY_S)
    with pair.hub_alone() as hub:
        await _stream(hub)
        before = resident_bytes(hub.pid)
        fleet: list[Device] = []
        try:
            await _come(hub, devices(pair, size, rounds + 1), fleet)
            await _send(fleet, 1)
            began = cpu_s(hub.pid)
            await _send(fleet, rounds)
            spent = cpu_s(hub.pid) - began
            after = resident_bytes(hub.pid)
        finally:
            for device in fleet:
                device.leave()
    n = size.devices
    return Hub(float(after), (after - before) / n, spent / n / (rounds * EVERY_S) * 60)


async def _stream(hub: ServerProcess) -> None:
    """The fleet's stream, which our hub would make with the first device."""
    client = await nats.connect(f"nats://127.0.0.1:{hub.port()}")
    await client.jetstream().add_stream(name="FLEET_tele", subjects=["fleet.tele.>"])
    await client.close()


async def _come(hub: ServerProcess, coming: Iterator[Device], fleet: list[Device]) -> None:
    loop = asyncio.get_running_loop()
    port = hub.port("leafnodes")
    async with asyncio.timeout(WAIT_S):
        for device in coming:
            await loop.create_connection(lambda device=device: device, "127.0.0.1", port)  # type: ignore[misc]
            fleet.append(device)
            if len(fleet) % COMING == 0:
                await asyncio.gather(*(one.ready for one in fleet[-COMING:]))
        await asyncio.gather(*(one.ready for one in fleet))


async def _send(fleet: list[Device], rounds: int) -> None:
    """Spread evenly over the time; returns when everything is acknowledged."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for sent in range(rounds * len(fleet)):
        due = start + sent * EVERY_S / len(fleet)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        fleet[sent % len(fleet)].send()
    await asyncio.sleep(max(0.0, start + rounds * EVERY_S - loop.time()))
    async with asyncio.timeout(WAIT_S):
        while any(device.acked < device.sent for device in fleet):
            await asyncio.sleep(0.05)
