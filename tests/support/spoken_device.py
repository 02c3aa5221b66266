"""A device that forwards, as a client of the hub that speaks the protocol by hand."""

import asyncio
from typing import Any, Self

from nats.aio.client import Client
from nats.aio.msg import Msg

from phloem.hub.app import Hub
from phloem.shared.engine.parcel import Packer
from phloem.shared.forward.figures import DeviceStatus, plain
from phloem.shared.forward.messages import (
    SOON,
    VERSION,
    Ack,
    Again,
    Epoch,
    Gap,
    Hello,
    Message,
    Offer,
    Parcel,
    Pause,
    Place,
    Status,
    Welcome,
    decode,
    down_subject,
    encode,
    encode_parcel,
    up_subject,
)
from phloem.shared.store.log import Log

TIMEOUT_S = 20.0
STORE, EPOCH = 7, 70


def offer(name: str = "tele", *, last: int = 0, number: int = 0, **more: Any) -> Offer:
    """One stream, with nothing confirmed."""
    fields = {"to": "", "store": STORE, "epochs": (Epoch(EPOCH, 1),), "first_seq": 1, "confirmed": 0} | more
    return Offer(number=number, name=name, last_seq=last, **fields)


class SpokenDevice:
    """One of them. Use it as ``async with``."""

    def __init__(self, hub: Hub, name: str = "dev1") -> None:
        self.hub, self.name = hub, name
        self.client: Client
        self.session = self.order = 0
        self.heard: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self.client = await self.hub.connect()
        await self.client.subscribe(down_subject(self.name).decode(), cb=self._hear)
        await self.client.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def _hear(self, message: Msg) -> None:
        self.heard.put_nowait(decode(message.data))

    async def say(self, message: Message | bytes) -> None:
        """The hub has heard it on return."""
        data = message if isinstance(message, bytes) else encode(message)
        await self.client.publish(up_subject(self.name).decode(), data)
        await self.client.flush()

    async def answer(self, *kinds: type[Any]) -> Any:
        """The next of these kinds for this session, others are passed over."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = await self.heard.get()
                if isinstance(message, kinds) and message.session == self.session:
                    return message

    async def hello(self, *offers: Offer, session: int = 1) -> tuple[Place, ...]:
        """A session; where its streams go on."""
        self.session, self.order = session, 0
        await self.say(Hello(VERSION, self.name, session, 1, 0, offers))
        welcome: Welcome = await self.answer(Welcome)
        return welcome.places

    async def parcel(self, *payloads: bytes, first: int = 1, number: int = 0, flags: int = SOON) -> None:
        """Messages on the subject ``tele.x``."""
        log = Log()
        if first > 1:
            log.skip(first - 1)
        for payload in payloads:
            log.append(b"tele.x", b"", payload, 1_600_000_000_000_000_000)
        packed = Packer(log).pack(first, log.last_seq, 1 << 20, 0)
        assert packed is not None
        self.order += 1
        parcel = Parcel(flags, self.session, self.order, number, 0, first, packed.next_seq, packed.columns)
        await self.say(encode_parcel(parcel))

    async def gap(self, first: int, last: int, reason: str, count: int | None = None) -> None:
        self.order += 1
        wanted = last - first + 1 if count is None else count
        await self.say(Gap(self.session, self.order, 0, first, last, wanted, reason))

    async def status(self, **fields: Any) -> None:
        await self.say(Status(self.session, plain(DeviceStatus(**fields))))


__all__ = ["EPOCH", "STORE", "Ack", "Again", "Pause", "SpokenDevice", "offer"]
