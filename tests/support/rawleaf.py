"""A leaf link played by hand, either side of it (wire.md 2): the raw client plus the noise a link carries.

A server may announce, at any time and in any number, interest in ``$SYS.REQ.…`` and in ``$LDS.…``
(wire.md 2.4, 2.5, 6.1). Which of them it announces is its own affair, so they are taken out of the
stream; :attr:`RawLeaf.announced` keeps what the peer said up to the end of the handshake.
"""

import json
import re
from typing import Any

from tests.support.rawclient import RawClient
from tests.support.s2 import S2Layer

INTEREST = re.compile(rb"LS\+ ([^\r]*)\r\n")


class RawLeaf(RawClient):
    """The test as one end of a leaf link; ``announced`` is the peer's first interest, ``$LDS`` included."""

    noise = (
        *RawClient.noise,
        (re.compile(rb"LS[+-] \$SYS\.[^\r]*\r\n"), b""),
        (re.compile(rb"LS[+-] \$LDS\.[^\r]*\r\n"), b""),
    )
    announced: tuple[str, ...] = ()

    async def handshake(self, connect: str = "{}") -> None:
        """As the soliciting side: INFO, CONNECT, connect INFO, the peer's interest, PONG."""
        await self.expect_info()
        self.send(f"CONNECT {connect}\r\n")
        await self.expect_info()
        await self.sync()

    def speak_s2(self) -> S2Layer:
        """From here on both ends do; what has come and was not read is the beginning of the peer's stream."""
        self._in.s2 = layer = S2Layer()
        self._in.data[:] = layer.received(bytes(self._in.data))
        return layer

    def send_bare(self, data: bytes) -> None:
        """Bytes that no layer makes anything of."""
        self._transport.write(data)

    async def expect_connect(self) -> dict[str, Any]:
        """As the accepting side: the next bytes are a CONNECT; its JSON."""
        line = await self.expect(re.compile(rb"CONNECT \{[^\r]*\}\r\n"))
        return dict(json.loads(line[8:]))

    async def sync(self) -> None:
        """Read the peer's interest until it has answered a PING; taking that back is noise from here on."""
        self.noise = ()
        self.send(b"PING\r\n")
        seen = await self.expect(re.compile(rb"(?:(?:LS[+-] [^\r]*|PING)\r\n)*?PONG\r\n"))
        self.announced = tuple(line.decode() for line in INTEREST.findall(seen))
        if b"\r\nPING\r\n" in b"\r\n" + seen:
            self.send(b"PONG\r\n")
        taken_back = b"|".join(re.escape(f"LS- {line}\r\n".encode()) for line in self.announced) or b"$^"
        self.noise = (*type(self).noise, (re.compile(taken_back), b""))

    @property
    def loop_subject(self) -> str:
        """The peer's own ``$LDS`` subject."""
        found = [subject for subject in self.announced if subject.startswith("$LDS.")]
        assert found, f"no $LDS among {self.announced}"
        return found[0]
