"""Streams of a link that speaks S2: what the kernel makes of them is what it makes of the plain bytes."""

import contextlib
import socket
from itertools import pairwise
from random import Random

from phloem.shared.kernel import KIND_CLIENT, KIND_LEAF, Connection, Kernel, Reason
from phloem.shared.wire.blocks import compressed
from tests.fuzz import making, snappy
from tests.fuzz.frames import Nonsense
from tests.fuzz.steps import Step, Steps

SUBJECTS = (b"a.>", b"b", b"c", b"r.>")
NOW = 1_000_000_000


def _chunk(r: Random, plain: bytes) -> bytes:
    """One chunk of ``plain``, which is not empty."""
    dice = r.random()
    if dice < 0.5:
        return snappy.sealed(1, plain, plain)
    return snappy.sealed(0, compressed(plain[: 1 << 16], r.choice((0, 1, 4, 16))), plain[: 1 << 16])


def make(r: Random) -> Steps:
    plain = making.stream(r, True, r.randint(1, 12))
    cuts = sorted({0, len(plain), *(r.randint(0, len(plain)) for _ in range(r.randint(0, 6)))})
    out = [snappy.S2 if r.random() < 0.97 else snappy.SNAPPY]
    for a, b in pairwise(cuts):
        out.append(_chunk(r, plain[a:b]))
        if r.random() < 0.1:
            out.append(r.choice((snappy.chunk(r), b"\x80\x03\0\0abc", snappy.S2)))
    data = b"".join(out)
    if r.random() < 0.3:
        data = making.spoil(r, data)
    steps = [Step("level", 0, r.randrange(4))]
    return (*steps, *(Step("feed", 0, 0, piece) for piece in making.pieces(r, data)))


class Side:
    """A kernel with a link, a publisher towards it and whoever hears it."""

    def __init__(self, *, level: int | None) -> None:
        self.kernel = Kernel(self, seed=3)
        self.kernel.set_now(NOW)
        self.closed: Reason | None = None
        account = self.kernel.account("A")
        self.hearer = self.kernel.attach(-1, KIND_CLIENT, 1, account, NOW)
        self.hearer.configure(headers=True)
        for number, subject in enumerate(SUBJECTS):
            self.hearer.feed(b"SUB %b %d\r\n" % (subject, number))
        self.heard = bytearray()
        self.said = bytearray()
        self.sock: socket.socket | None = None
        fd = -1
        if level is not None:
            ours, self.sock = socket.socketpair()
            ours.setblocking(False)
            self.sock.setblocking(False)
            fd = ours.detach()
        self.link = self.kernel.attach(fd, KIND_LEAF, 2, account, NOW)
        self.link.configure(headers=True)
        if level is not None:
            self.link.wait()
            self.link.compress(level)
            self.link.resume()
        self.link.link_up()

    def say(self, data: bytes) -> None:
        """As far as the link takes it."""
        if self.sock is None:
            self.link.feed(data)
            self.said += self.link.output()
        else:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while data:
                    with contextlib.suppress(BlockingIOError):
                        data = data[self.sock.send(data) :]
                    self._turn()
            self._turn()
        self.heard += self.hearer.output()

    def _turn(self) -> None:
        assert self.sock is not None
        self.kernel.tick(NOW)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while data := self.sock.recv(1 << 18):
                self.said += data
                self.kernel.tick(NOW)

    def end(self) -> None:
        """Frees everything."""
        self.kernel.close()
        if self.sock is not None:
            self.sock.close()

    def on_connect(self, conn: Connection, body: bytes) -> None:
        conn.resume()

    def on_info(self, conn: Connection, body: bytes) -> None:
        conn.resume()

    def on_err(self, conn: Connection, text: bytes) -> None:
        conn.resume()

    def on_loop(self, conn: Connection) -> None:
        conn.resume()

    def on_complaint(self, conn: Connection, text: bytes) -> None:
        pass

    def on_served(self, served: object) -> None:
        pass

    def on_trace(self, conn: Connection, direction: str, data: bytes) -> None:
        pass

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        if conn is self.link and self.closed is None:
            self.closed = reason


def run(steps: Steps) -> None:
    level = next((step.number % 4 for step in steps if step.verb == "level"), 1)
    pieces = [step.data for step in steps if step.verb == "feed"]
    plain, problem, whole = snappy.decoded(pieces)
    packed, bare = Side(level=level), Side(level=None)
    try:
        for piece in pieces:
            packed.say(piece)
        packed.say(b"")  # also when nothing came
        bare.say(plain)
        if packed.heard != bare.heard:
            raise Nonsense(f"heard {bytes(packed.heard)!r}, not {bytes(bare.heard)!r}")
        if bare.closed is None and not (whole and not problem):
            if problem and packed.closed is not Reason.READ_ERROR:
                raise Nonsense(f"{problem}, and the link goes on: {packed.closed}")
        elif packed.closed is not bare.closed:
            raise Nonsense(f"ended by {packed.closed}, not {bare.closed}")
        said, wrong, _ = snappy.decoded([bytes(packed.said)])
        if wrong or (packed.closed is None and said != bytes(bare.said)):
            raise Nonsense(f"said {said!r}, not {bytes(bare.said)!r} {wrong}")
    finally:
        packed.end()
        bare.end()
