"""Requests: who is asked, for what, and the envelope of an answer (security_ops 4.5).

An answer has ``server`` and ``data``; one to options that cannot be read has ``server`` and ``error``; one that could
not be made has ``data`` of null as well where it would have had some. Whoever is not meant by the filters says nothing,
and so does everybody to a request without a reply subject.
"""

import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phloem.shared.kernel import Account
from phloem.shared.server.monitor.query import BadParameter
from phloem.shared.server.monitor.render import compact_json
from phloem.shared.server.system.asked import FILTERS, BadRequest, Fields, read
from phloem.shared.server.system.encoding import accepted
from phloem.shared.server.system.filters import is_for
from phloem.shared.server.system.voice import Voice

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


class Asked(NamedTuple):
    """A request. ``account`` is where it was sent, and where the answer goes."""

    account: Account
    subject: str
    reply: bytes
    header: bytes
    body: bytes

    @property
    def tokens(self) -> list[str]:
        """Of the subject."""
        return self.subject.split(".")


class _RequestInfo(msgspec.Struct):
    """Of ClientInfo what counts here: who asks, and who asks on his behalf."""

    acc: str = ""
    svc: str = ""


class Silence(Exception):
    """There is nothing to say."""


Handler = Callable[[Asked], None]
Make = Callable[[Mapping[str, Any]], object]


class Desk:
    """Takes requests and sends answers."""

    def __init__(self, server: "Server", voice: Voice) -> None:
        self._server = server
        self.voice = voice

    def serve(self, account: Account, subject: str, handler: Handler) -> int:
        """Answer requests on ``subject``; the number of the subscription."""

        def asked(subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
            handler(Asked(account, subject.decode("utf-8", "surrogateescape"), reply, header, body))

        return self._server.kernel.subscribe(account, subject.encode(), None, asked)

    def answer(self, asked: Asked, words: str, options: Fields, make: Make, *, data: bool = True) -> None:
        """Read the options, which Go calls ``words``, and answer with what is made of them.

        ``data``: whether there is any, be it null.
        """
        if not asked.reply:
            return
        encoding = ""
        try:
            wish = read(asked.body, words, {**options, **FILTERS}) if asked.body else {}
            if wish and not is_for(wish, self.voice.info(counted=False)):
                return
            made = make(wish)
            answer: dict[str, Any] = {"data": made} if data else {}
            encoding = accepted(asked.header)
        except BadRequest as problem:
            answer = {"error": _error(HTTPStatus.BAD_REQUEST, problem)}
        except BadParameter as problem:
            answer = {"data": None} if data else {}
            answer["error"] = _error(HTTPStatus.INTERNAL_SERVER_ERROR, problem)
        except Silence:
            return
        self.reply(asked, {"server": self.voice.info(), **answer}, encoding)

    def reply(self, asked: Asked, document: object, encoding: str = "") -> None:
        """A document to whoever asked."""
        self.voice.publish(asked.reply, compact_json(document), asked.account, encoding=encoding)

    def text(self, asked: Asked, text: str) -> None:
        """A plain answer."""
        self.voice.publish(asked.reply, text.encode(), asked.account)


def importer(asked: Asked) -> str:
    """The account that asks by an import of its own; empty: the request was sent where it is answered."""
    for line in asked.header.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"Nats-Request-Info":
            with contextlib.suppress(msgspec.DecodeError):
                who = msgspec.json.decode(value, type=_RequestInfo)
                return who.svc or who.acc
    return ""


def _error(code: HTTPStatus, problem: Exception) -> dict[str, Any]:
    return {"code": code.value, "description": str(problem)}
