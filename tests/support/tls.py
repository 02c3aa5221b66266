"""TLS for a test's own connections, between two memory BIOs, so that a test sees every step and nothing lingers.

asyncio's own TLS closes its transports some turns of the loop after it was told to, and hides what was received
before an alert.
"""

import asyncio
import ssl


class Tls:
    """One side's TLS: bytes of the network in, plaintext out, and the other way round."""

    def __init__(self, context: ssl.SSLContext, name: str = "localhost") -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._in, self._out, server_hostname=name)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> bytes:
        """What has to be sent first."""
        return self._shake()

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        """Plaintext that came with ``data``, and what has to be sent. Raises ssl.SSLError when the peer says no."""
        self._in.write(data)
        answer = b"" if self.done.done() else self._shake()
        plain = bytearray()
        while self.done.done() and not self.done.exception():
            try:
                piece = self.object.read(65536)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                break
            if not piece:
                break
            plain += piece
        return bytes(plain), answer + self._out.read()

    def sealed(self, data: bytes) -> bytes:
        """What has to be sent for ``data``."""
        self.object.write(data)
        return self._out.read()

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _shake(self) -> bytes:
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.failed(error)
        else:
            self.done.set_result(None)
        return self._out.read()
