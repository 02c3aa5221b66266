"""A device and a hub, both simulated, whose link a test may meddle with frame by frame."""

import random

from phloem.shared.forward.entries import Class, Entry
from phloem.shared.forward.messages import decode
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.schedule import Schedule
from phloem.shared.testing.simulated_device import SimulatedDevice
from phloem.shared.testing.simulated_hub import SimulatedHub
from phloem.shared.testing.simulated_link import SimulatedLink

TELE, ALARM = Entry(name="tele", stream="T"), Entry(name="alarm", stream="A", cls=Class.ALARM)
MS = SECOND_NS // 1000


class Pair:
    """A device and a hub, and a link between them that a test may meddle with."""

    def __init__(self, *entries: Entry, rate: int = 1 << 30, delay_ns: int = MS) -> None:
        self.schedule = Schedule()
        rng = random.Random(1)
        self.hub = SimulatedHub(self.schedule, rng, "hub")
        self.device = SimulatedDevice(self.schedule, rng, "dev1", dict.fromkeys(entries, 0))
        self.link = SimulatedLink(self.schedule, rng, delay_ns=delay_ns, rate=rate)
        self.said: list[tuple[int, object]] = []  # 0 up, 1 down
        self.drops: list[type] = []  # the next of these kinds do not arrive
        self.bounces = 0
        self.device.on_bounce = self._bounced
        self.numbers = 0
        self.device.start()

    def _bounced(self) -> None:
        self.bounces += 1

    def connect(self) -> None:
        def answer(data: bytes) -> None:
            self._pass(1, data, self.device.heard)

        self.device.connected(
            lambda data: self._pass(0, data, lambda got: self.hub.heard("dev1", got, answer))
        )

    def _pass(self, way: int, data: bytes, take) -> None:  # type: ignore[no-untyped-def]
        message = decode(data)
        self.said.append((way, message))
        if type(message) in self.drops:
            self.drops.remove(type(message))
        else:
            self.link.send(way, data, take)

    def store(self, count: int, stream: str = "tele", size: int = 100) -> None:
        for _ in range(count):
            self.numbers += 1
            self.device.publish(stream, self.numbers, size)

    def run(self, seconds: float) -> None:
        self.schedule.run(self.schedule.now_ns + int(seconds * SECOND_NS))

    @property
    def come(self) -> list[int]:
        return [one.ident for one in self.hub.disk.durable.lists.get("came/dev1", [])]

    @property
    def gaps(self) -> list[tuple[int, int, str]]:
        return [(one.first, one.last, one.reason) for one in self.hub.disk.durable.lists.get("gaps/dev1", [])]

    def sent(self, kind: type) -> list[object]:
        return [message for _, message in self.said if isinstance(message, kind)]
