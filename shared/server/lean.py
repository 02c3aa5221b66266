"""What a process that runs for years does not carry along.

asyncio imports Python's ``ssl``, and ``hashlib`` its OpenSSL, whether somebody uses them or not: 4 MB of a library that
phloem does not need, whose TLS is the OpenSSL of ``cryptography`` (decision 34). Both modules are made to do without.
What really wants ``ssl`` later imports it then: asking a web server for JWTs; https for monitoring is known before.

Only the command may do this; whoever embeds a ``Server`` has a process of his own.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN = (
    "_md5",
    "_sha1",
    "_sha3",
    "_blake2",
)  # what hashlib has without OpenSSL, where Python was built with it
PLAIN_SHA2 = ("_sha2", "_sha256")  # from Python 3.12 on, and before


def hashes_without_openssl() -> None:
    """``hashlib`` and ``hmac`` use Python's own code; what only OpenSSL has (scrypt) is not to be had from them."""
    plain = all(map(_there, PLAIN)) and any(map(_there, PLAIN_SHA2))
    if plain and "hashlib" not in sys.modules:
        with _absent("_hashlib"):
            import hashlib  # noqa: F401, PLC0415
            import hmac  # noqa: F401, PLC0415


def asyncio_without_ssl() -> None:
    """``asyncio`` has no TLS of its own from now on, if it was not imported before."""
    if "asyncio" not in sys.modules and "ssl" not in sys.modules:
        with _absent("ssl"):
            import asyncio  # noqa: F401, PLC0415


def _there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Importing this module fails."""
    sys.modules[name] = None  # type: ignore[assignment]  # as documented for importing
    try:
        yield
    finally:
        del sys.modules[name]
