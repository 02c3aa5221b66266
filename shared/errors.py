"""Every error of phloem.

::

    PhloemError
      ConfigError          the user's file or flags are wrong; knows file, line and column
      ProtocolError        a peer broke the protocol; carries the exact ``-ERR`` text and whether it closes
        AuthorizationViolation (CredentialsRefused), InvalidClientProtocol, MaxConnectionsExceeded, ...
      NKeyError            a key or seed is malformed, or a signature is wrong; nkeys' own text
      InvalidJWT           a JWT cannot be read, was not signed by who it says, or breaks the rules of its kind
      LinkError            a leaf link could not be made or was refused
      PortInUse            an address that this server should listen on is taken

What a peer did wrong and what we did wrong are never the same class. What the kernel itself answers
(``ops.pyx``) needs no class: it never reaches Python as an error.
"""

from typing import ClassVar


class PhloemError(Exception):
    """The root; never raised itself."""


class ConfigError(PhloemError):
    """Configuration that cannot be used.

    ``line`` and ``column`` are 1-based and 0-based as nats-server prints them; ``file`` is empty for
    what came from flags.
    """

    def __init__(self, text: str, *, file: str = "", line: int = 0, column: int = 0) -> None:
        self.text, self.file, self.line, self.column = text, file, line, column
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}" if self.file else self.text


class ProtocolError(PhloemError):
    """A peer broke the protocol. ``wire_text`` goes into ``-ERR '<text>'``; empty means close silently."""

    wire_text: ClassVar[str] = ""
    fatal: ClassVar[bool] = True

    def __str__(self) -> str:
        return self.wire_text or type(self).__name__


class MalformedJSON(ProtocolError):
    """CONNECT or INFO that is no JSON object or has a value of the wrong type: closed without a word."""


class AuthorizationViolation(ProtocolError):
    """Missing or wrong credentials, or another verb before CONNECT."""

    wire_text = "Authorization Violation"


class InvalidClientProtocol(ProtocolError):
    """``protocol`` in CONNECT is neither 0 nor 1."""

    wire_text = "invalid client protocol"


class NoRespondersNeedsHeaders(ProtocolError):
    """``no_responders`` without ``headers`` in CONNECT."""

    wire_text = "no responders requires headers support"


class MaxConnectionsExceeded(ProtocolError):
    """The server's ``max_connections`` is reached."""

    wire_text = "maximum connections exceeded"


class NKeyError(PhloemError):
    """A key, seed, signature or sealed message that is not good. The text is nkeys' own and has no secret."""


class InvalidJWT(PhloemError):
    """A JWT that cannot be read or trusted. The text is that of NATS's JWT library where it has one."""


class CredentialsRefused(AuthorizationViolation):
    """Credentials that were read but do not let their holder in.

    ``reason`` is for the server's log, in nats-server's words; the peer never learns it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class LinkError(PhloemError):
    """A leaf link failed: unreachable, refused, or it broke a rule of the handshake."""


class PortInUse(PhloemError):
    """An address to listen on is taken or not allowed."""
