"""The subjects of ``$JS.API``: who is asked, and how an answer looks (reference 1).

Every account has the API under ``$JS.API.>`` and, if the server has a domain, under ``$JS.<domain>.API.>``. An answer
that says that something was stored waits until it is on the disk. What nobody serves is left unanswered, as
nats-server leaves it; a pull request for a consumer that is not there, or a direct get from a stream that serves none,
gets the 503 of a subject without listeners.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared.jetstream import identity
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.kernel import Account
from phloem.shared.server.jetstream import api_backup, api_consumers, api_streams, groups
from phloem.shared.server.jetstream.api_system import PURGE, TYPE, system_answer
from phloem.shared.server.jetstream.direct import level_is_known
from phloem.shared.server.options_jetstream import SINGLE_TIER
from phloem.shared.server.options_jetstream import AccountJetStream as AccountOptions
from phloem.shared.store.log import Damaged
from phloem.shared.wire.info import API_LEVEL

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.system import JetStream

log = logging.getLogger("phloem.jetstream")

NEXT = "CONSUMER.MSG.NEXT."
DIRECT = "DIRECT.GET."
PORTS = "PHLOEM.PORTS"
Endpoint = Callable[["Request"], dict[str, Any]]


class Request:
    """One request: to whom, for what, and what goes into its answer."""

    def __init__(
        self,
        account: "AccountJetStream",
        subject: str,
        tokens: list[str],
        reply: bytes,
        header: bytes,
        body: bytes,
    ) -> None:
        self.account = account
        self.system = account.system
        self.subject = subject
        self.tokens = tokens  # behind the endpoint's own
        self.reply = reply
        self.header = header
        self.body = body
        self.changes = False  # the answer has to wait for the disk
        self.counted = True  # among the account's requests, and told to whoever audits
        self.answer_header = b""

    def empty(self) -> bool:
        """Whether the body asks for nothing in particular."""
        text = b"".join(self.body.split())
        return text in (b"", b"{}") or text[:1] not in (b"{", b"[")

    def demand_empty(self) -> None:
        """Raises ApiError 10038."""
        if self.body and b"".join(self.body.split()) != b"{}":
            raise error(10038)

    def client(self) -> dict[str, Any]:
        """Who asks, for advisories; only while the request is served."""
        server = self.system.server
        cid = server.kernel.source_cid
        client, link = server.clients.open.get(cid), server.leafs.open.get(cid)
        known: dict[str, Any] = {"acc": self.account.name, "server": server.name}
        if client is not None:
            connect = client.connect
            known |= {
                "start": rfc3339(client.start_wall_ns),
                "host": client.ip,
                "id": cid,
                "user": client.identity.name,
                "name": connect.name if connect else "",
                "lang": connect.lang if connect else "",
                "ver": connect.version if connect else "",
                "rtt": client.conn.stats["rtt_ns"],
                "kind": "Client",
                "client_type": "nats",
            }
        elif link is not None:
            known |= {
                "start": rfc3339(link.start_wall_ns),
                "host": link.ip,
                "id": cid,
                "user": link.user,
                "name": link.name,
                "rtt": link.conn.stats["rtt_ns"],
                "kind": "Leafnode",
            }
        return {name: known[name] for name in CLIENT if known.get(name)}


class Served:
    """An endpoint: its words in the subject, how many tokens follow, its type and what an error answer also has."""

    def __init__(
        self,
        words: str,
        tokens: int,
        kind: str,
        run: Endpoint,
        rest: dict[str, Any] | None = None,
        *,
        clustered: bool = False,
    ) -> None:
        self.words = words.split(".")
        self.tokens = tokens  # -1: one or more
        self.kind = kind
        self.run = run
        self.rest = rest or {}
        self.clustered = clustered  # it is refused before anything else is looked at


CLIENT = ("start", "host", "id", "acc", "user", "name", "lang", "ver", "rtt", "server", "kind", "client_type")
NO_LIMITS = AccountOptions(
    max_memory=0,
    max_store=0,
    max_streams=0,
    max_consumers=0,
    memory_max_stream_bytes=0,
    disk_max_stream_bytes=0,
    max_ack_pending=0,
)  # what an account whose limits are tiered shows beside them
PAGE = {"total": 0, "offset": 0, "limit": 0}
CLUSTERED = ("STREAM.PEER.REMOVE", "STREAM.PEER.EVACUATE", "STREAM.LEADER.STEPDOWN", "STREAM.CANCEL_MOVE")


def _account_info(request: Request) -> dict[str, Any]:
    account, options = request.account, request.account.options
    used = {
        "memory": account.used("memory"),
        "storage": account.used("file"),
        "reserved_memory": account.reserved("memory"),
        "reserved_storage": account.reserved("file"),
        "streams": len(account.streams),
        "consumers": sum(len(stream.consumers) for stream in account.streams.values()),
    }
    answer: dict[str, Any] = {**used, "limits": _limits(NO_LIMITS if options.tiers else options)}
    if request.system.options.domain:
        answer["domain"] = request.system.options.domain
    answer["api"] = {"level": API_LEVEL, "total": account.api_total, "errors": account.api_errors}
    if options.tiers:  # nothing is replicated here, so that all there is counts for the first
        nothing = dict.fromkeys(used, 0)
        answer["tiers"] = {
            name: {**(used if name == SINGLE_TIER else nothing), "limits": _limits(tier)}
            for name, tier in options.tiers.items()
        }
    return answer


def _limits(options: AccountOptions) -> dict[str, Any]:
    return {
        "max_memory": options.max_memory,
        "max_storage": options.max_store,
        "max_streams": options.max_streams,
        "max_consumers": options.max_consumers,
        "max_ack_pending": options.max_ack_pending,
        "memory_max_stream_bytes": options.memory_max_stream_bytes,
        "storage_max_stream_bytes": options.disk_max_stream_bytes,
        "max_bytes_required": options.max_bytes_required,
    }


def _needs_cluster(_request: Request) -> dict[str, Any]:
    raise error(10010)


ENDPOINTS = (
    Served("INFO", 0, "account_info_response", _account_info),
    Served("STREAM.CREATE", 1, "stream_create_response", api_streams.create),
    Served("STREAM.UPDATE", 1, "stream_update_response", api_streams.update),
    Served("STREAM.NAMES", 0, "stream_names_response", api_streams.names, PAGE | {"streams": None}),
    Served("STREAM.LIST", 0, "stream_list_response", api_streams.listing, PAGE | {"streams": []}),
    Served("STREAM.INFO", 1, "stream_info_response", api_streams.info, PAGE),
    Served("STREAM.DELETE", 1, "stream_delete_response", api_streams.delete),
    Served("STREAM.PURGE", 1, "stream_purge_response", api_streams.purge, {"purged": 0}),
    Served("STREAM.MSG.GET", 1, "stream_msg_get_response", api_streams.get_message),
    Served("STREAM.MSG.DELETE", 1, "stream_msg_delete_response", api_streams.delete_message),
    Served("STREAM.SNAPSHOT", 1, "stream_snapshot_response", api_backup.snapshot),
    Served("STREAM.RESTORE", 1, "stream_restore_response", api_backup.restore, {"deliver_subject": ""}),
    *(
        Served(words, 1, f"stream_{kind}_response", _needs_cluster, clustered=True)
        for words, kind in zip(
            CLUSTERED, ("remove_peer", "evacuate_peer", "leader_stepdown", "cancel_move"), strict=True
        )
    ),
    Served(
        "CONSUMER.LEADER.STEPDOWN", 2, "consumer_leader_stepdown_response", _needs_cluster, clustered=True
    ),
    Served("CONSUMER.DURABLE.CREATE", 2, "consumer_create_response", api_consumers.create_durable),
    Served("CONSUMER.CREATE", -1, "consumer_create_response", api_consumers.create),
    Served("CONSUMER.NAMES", 1, "consumer_names_response", api_consumers.names, PAGE | {"consumers": []}),
    Served("CONSUMER.LIST", 1, "consumer_list_response", api_consumers.listing, PAGE | {"consumers": []}),
    Served("CONSUMER.INFO", 2, "consumer_info_response", api_consumers.info),
    Served("CONSUMER.DELETE", 2, "consumer_delete_response", api_consumers.delete),
    Served(
        "CONSUMER.PAUSE",
        2,
        "consumer_pause_response",
        api_consumers.pause,
        {"paused": False, "pause_until": "0001-01-01T00:00:00Z"},
    ),
    Served("CONSUMER.UNPIN", 2, "consumer_unpin_response", api_consumers.unpin),
    Served("CONSUMER.RESET", 2, "consumer_reset_response", api_consumers.reset, {"reset_seq": 0}),
)


def _find(tokens: list[str]) -> tuple[Served, list[str]] | None:
    for served in ENDPOINTS:
        n = len(served.words)
        rest = tokens[n:]
        if tokens[:n] == served.words and (len(rest) == served.tokens or (served.tokens < 0 and rest)):
            return served, rest
    return None


class Api:
    """The API of all accounts of a server."""

    def __init__(self, system: "JetStream") -> None:
        self._system = system
        self._idents: dict[str, list[int]] = {}

    def serve(self, account: "AccountJetStream") -> None:
        """Listen for an account's requests."""
        kernel = self._system.server.kernel
        prefixes = ["$JS.API."]
        if self._system.options.domain:
            prefixes.append(f"$JS.{self._system.options.domain}.API.")
        self._idents[account.name] = idents = [
            kernel.subscribe(
                account.kernel_account, f"{prefix}>".encode(), None, self._asker(account, prefix)
            )
            for prefix in prefixes
        ]
        for ident in idents:
            self._system.engine.leave_direct_gets(ident)

    def refuse(self, name: str) -> None:
        """An account without JetStream is told so."""
        account = self._system.server.account(name)
        prefix = "$JS.API."

        def asked(subject: bytes, reply: bytes, _header: bytes, _body: bytes) -> None:
            rest = subject.decode(errors="surrogateescape")[len(prefix) :]
            found = _find(rest.split("."))
            if not reply:
                return
            if rest.startswith((NEXT, DIRECT)):
                self._nobody(account, subject, reply)
            elif found is not None:
                problem = {"error": error(10039).as_dict(), **found[0].rest}
                answer = msgspec.json.encode({"type": TYPE + found[0].kind, **problem})
                self._system.engine.answer(account, reply, b"", answer)

        self._idents[name] = [
            self._system.server.kernel.subscribe(account, f"{prefix}>".encode(), None, asked)
        ]

    def serve_system(self, name: str) -> None:
        """The system account has no JetStream, and a few endpoints that only a cluster needs: those stay silent."""
        account = self._system.server.account(name)

        def asked(subject: bytes, reply: bytes, _header: bytes, _body: bytes) -> None:
            rest = subject.decode(errors="surrogateescape").removeprefix("$JS.API.")
            answer = system_answer(self._system, rest)
            if reply and answer:
                self._system.engine.answer(
                    account, reply, b"", msgspec.json.encode(answer), durable=rest.startswith(PURGE)
                )

        self._idents[name] = [self._system.server.kernel.subscribe(account, b"$JS.API.>", None, asked)]

    def forget(self, name: str) -> None:
        """The account is not served any more."""
        for ident in self._idents.pop(name, []):
            self._system.server.kernel.unsubscribe(ident)

    def forget_all(self) -> None:
        """Nobody is served any more."""
        for name in list(self._idents):
            self.forget(name)

    def _asker(
        self, account: "AccountJetStream", prefix: str
    ) -> Callable[[bytes, bytes, bytes, bytes], None]:
        def asked(subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
            rest = subject.decode(errors="surrogateescape")[len(prefix) :]
            if rest.startswith(NEXT):
                self._next(account, subject, rest[len(NEXT) :].split("."), reply, header, body)
            elif rest.startswith(groups.WORDS):
                if reply:
                    groups.serve(account, rest[len(groups.WORDS) :], reply, body)
            elif rest == PORTS:
                if (told := self._system.server.ports_told) is not None:
                    told(body)
            elif rest.startswith(("$KV.", "$O.", "$OBJ.")) and prefix != "$JS.API.":
                self._system.server.kernel.publish(
                    account.kernel_account, subject[len(prefix) :], reply, header, body
                )
            elif rest.startswith(DIRECT):
                stream = account.streams.get(rest[len(DIRECT) :].split(".", 1)[0])
                if reply and (stream is None or not stream.direct.listening):
                    self._nobody(account.kernel_account, subject, reply)
            else:
                self._ask(account, subject, rest.split("."), reply, header, body)

        return asked

    def _next(
        self,
        account: "AccountJetStream",
        subject: bytes,
        names: list[str],
        reply: bytes,
        header: bytes,
        body: bytes,
    ) -> None:
        stream = account.streams.get(names[0])
        consumer = stream.consumers.get(names[1]) if stream is not None and len(names) == 2 else None
        if not reply:
            return
        if consumer is None:
            self._nobody(account.kernel_account, subject, reply)
        elif b"Nats-Required-Api-Level" in header and not level_is_known(header):
            consumer.engine.status(reply, b"412 Required Api Level")
        else:
            consumer.next(reply, body)

    def _nobody(self, account: Account, subject: bytes, reply: bytes) -> None:
        """What the sender would get if nobody listened."""
        block = b"NATS/1.0 503\r\nNats-Subject: " + subject + b"\r\n\r\n"
        self._system.engine.answer(account, reply, block, b"")

    def _ask(
        self,
        account: "AccountJetStream",
        subject: bytes,
        tokens: list[str],
        reply: bytes,
        header: bytes,
        body: bytes,
    ) -> None:
        found = _find(tokens)
        if found is None:
            return
        served, rest = found
        request = Request(account, subject.decode(errors="replace"), rest, reply, header, body)
        answer: dict[str, Any] = {"type": TYPE + served.kind}
        try:
            if not served.clustered and b"Nats-Required-Api-Level" in header and not level_is_known(header):
                raise error(10185)
            answer |= served.run(request)
        except ApiError as problem:
            if problem.err_code == 0:  # what is asked of somebody who is not there stays without an answer
                return
            account.api_errors += request.counted
            request.answer_header = b""
            answer |= {"error": problem.as_dict(), **served.rest}
        except Damaged as problem:
            account.api_errors += 1
            answer |= {"error": error(10077, err=str(problem)).as_dict(), **served.rest}
        self._answer(request, answer)

    def _answer(self, request: Request, answer: dict[str, Any]) -> None:
        account = request.account
        encoded = msgspec.json.encode(answer)
        if request.counted and ("error" in answer or not answer["type"].endswith("msg_get_response")):
            account.api_total += 1
            self.audit(request, encoded)
        if request.reply:
            self._system.engine.answer(
                account.kernel_account,
                request.reply,
                request.answer_header,
                encoded,
                durable=request.changes,
            )

    # --- advisories ------------------------------------------------------------------------------------

    def advise(self, account: "AccountJetStream", subject: str, kind: str, fields: dict[str, Any]) -> None:
        """``$JS.EVENT.<subject>``; nothing is made up if nobody listens."""
        system = self._system
        if account.kernel_account.stats["subscriptions"] == 0:
            return
        event = {
            "type": f"io.nats.jetstream.{kind}",
            "id": identity.text_of(system.server.rng.randbytes(22), 22),
            "timestamp": rfc3339(system.clock.wall_ns()),
            **fields,
        }
        if system.options.domain:
            event["domain"] = system.options.domain
        system.engine.answer(
            account.kernel_account, f"$JS.EVENT.{subject}".encode(), b"", msgspec.json.encode(event)
        )

    def audit(self, request: Request, response: bytes) -> None:
        """Every answer of the API, for whoever wants to see them all."""
        server = self._system.server
        fields = {
            "server": server.name,
            "client": request.client(),
            "subject": request.subject,
            "request": request.body.decode(errors="replace"),
            "response": response.decode(),
        }
        if not fields["request"]:
            del fields["request"]
        self.advise(request.account, "ADVISORY.API", "advisory.v1.api_audit", fields)
