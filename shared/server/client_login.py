"""A command as a client of a server: what ``nats.connect`` needs beside the URL.

nats-py reads credentials files by itself, but only with the package ``nkeys``; this is the same with phloem's own keys.
"""

import base64
import os
from collections.abc import Callable
from typing import Any, TypedDict

from phloem.shared.security.creds import token_in, user_key_in
from phloem.shared.security.nkeys import wipe
from phloem.shared.server.secret_files import read_secret


def once(timeout_s: int) -> dict[str, Any]:
    """For a command that is to say soon that nobody answers: nats-py would try for minutes."""
    return {
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
        "connect_timeout": timeout_s,
    }


class Login(TypedDict):
    """Keyword arguments of ``nats.connect``."""

    user_jwt_cb: Callable[[], bytes]
    signature_cb: Callable[[str], bytes]


def login_with(creds: str | os.PathLike[str]) -> Login:
    """The callbacks that log in with a credentials file. It is read at each attempt and kept nowhere.

    Raises:
        NKeyError: It has no user's key.
        ConfigError: It is too large to be one.
        OSError: It cannot be read.
    """
    path = os.fspath(creds)

    def token() -> bytes:
        content = read_secret(path)
        try:
            return token_in(content).encode()
        finally:
            wipe(content)

    def signature(nonce: str) -> bytes:
        content = read_secret(path)
        try:
            with user_key_in(content) as pair:
                return base64.b64encode(pair.sign(nonce.encode()))
        finally:
            wipe(content)

    signature("")  # a file that will not do is told now, and not as a refusal by the server
    return Login(user_jwt_cb=token, signature_cb=signature)
