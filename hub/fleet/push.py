"""Telling a hub of its accounts: ``$SYS.REQ.CLAIMS.UPDATE``, as a user of the system account."""

import asyncio
import json
import logging
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import nats
import nats.errors
from nats.aio.client import Client

from phloem.shared.errors import PhloemError
from phloem.shared.server.client_login import login_with, once

UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
CONNECT_S = 3  # for each name of the hub, with the handshake
ANSWER_S = 5


class NotReached(PhloemError):
    """No server could be asked; each line says one reason."""


class Refused(PhloemError):
    """A server answered, and did not take it."""


class Access(NamedTuple):
    """How to get into the system account: URLs in order of preference, the authority's certificate, credentials."""

    urls: Sequence[str]
    authority: Path
    creds: Path


def push(access: Access, tokens: Iterable[str]) -> str:
    """Give account JWTs to the first server that can be reached; the name of that server.

    Raises:
        NotReached: None can.
        Refused: It did not take one.
    """
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # nats-py's way to end TLS makes it warn
    return asyncio.run(_push(access, tokens))


async def _push(access: Access, tokens: Iterable[str]) -> str:
    client = await _connect(access)
    try:
        server = ""
        for token in tokens:
            server = await _update(client, token)
        return server
    finally:
        await client.close()


async def _connect(access: Access) -> Client:
    context = ssl.create_default_context(cafile=str(access.authority))
    login = login_with(access.creds)
    reasons = []
    for url in access.urls:
        heard: list[Exception] = []

        async def hear(problem: Exception, heard: list[Exception] = heard) -> None:
            heard.append(problem)

        try:
            async with asyncio.timeout(CONNECT_S):
                return await nats.connect(url, tls=context, error_cb=hear, **once(CONNECT_S), **login)
        except (OSError, TimeoutError, nats.errors.Error) as problem:
            why = heard[0] if heard else problem
            reasons.append(f"{url}: {str(why) or type(why).__name__}")
    raise NotReached("\n".join(reasons))


async def _update(client: Client, token: str) -> str:
    try:
        answer = await client.request(UPDATE, token.encode(), timeout=ANSWER_S)
        said = json.loads(answer.data)
        if "error" in said:
            raise Refused(str(said["error"]["description"]))
        return str(said["server"]["name"])
    except nats.errors.NoRespondersError:
        raise Refused("it has no resolver that takes accounts (resolver { type: full })") from None
    except (nats.errors.Error, OSError) as problem:
        raise NotReached(f"no answer: {problem or type(problem).__name__}") from None
    except (ValueError, KeyError, TypeError):
        raise Refused("its answer cannot be read") from None
