"""Accounts in lists and dicts: what each client must receive when messages cross from account to account.

The reference for everything that imports, exports and subject mappings do at run time (security_ops.md 2.6, 2.7). It
is written to be read: a message is followed from account to account by plain recursion. ``account_rules`` says which
graphs there may be; permissions and the matching of subjects are those of ``model``.

What a server makes up is a symbol here: the n-th reply subject of a request that crosses is ``_R_.m.n``, and the model
learns what it is really called from the first message that has it. As in ``model``, what a server may choose is taken
from what it chose: the member of a queue group, the order of copies.

Rules. A stream crosses once: what arrives by a service, or from another account, is not passed on as a stream. A
service may be passed on by a service, but never through the same export twice. A reply crosses back as long as its
request waits: until the first reply (singleton), or an empty one (stream, chunked), or one that nobody received, or
until nobody in the asking account listens any more.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.property.account_rules import collide, granting, is_placeholder, placed
from tests.property.model import Permissions, matches

from phloem.shared.accounts.definition import Definition, Export, Import, Kind, ResponseType

REPLY = re.compile(r"_R_\.[^ .\"]+\.[^ \"\r]+")


class Unspecified(Exception):
    """nats-server does something here that nobody should build on; the script ends."""


class User(NamedTuple):
    """Somebody who may log in. ``responds``: may publish replies to what it received, one each."""

    name: str
    account: str
    permissions: Permissions = Permissions()
    responds: bool = False


class Graph(NamedTuple):
    accounts: tuple[Definition, ...]
    users: tuple[User, ...]


class Info(NamedTuple):
    """Header ``Nats-Request-Info``: the asker's account, the one in between, and the user, if that is shared."""

    account: str
    service: str = ""
    user: str = ""


class Message(NamedTuple):
    """``headers``: the block without ``Nats-Request-Info``; None: there is none."""

    payload: bytes
    headers: bytes | None = None
    info: Info | None = None


class Delivery(NamedTuple):
    """One message that one subscription gets."""

    client: int
    sid: str
    subject: str
    reply: str
    message: Message


class Error(NamedTuple):
    """``-ERR`` with this text."""

    client: int
    text: str


@dataclass(frozen=True)
class Sub:
    subject: str
    queue: str
    sid: str


@dataclass(frozen=True)
class Unsub:
    sid: str
    count: int = 0  # ends after so many in all; 0: now


@dataclass(frozen=True)
class Pub:
    subject: str
    reply: str
    payload: bytes
    headers: bytes | None = None


Operation = Sub | Unsub | Pub


@dataclass(eq=False)
class Subscription:
    client: "Client"
    subject: str
    queue: str
    sid: str
    delivered: int = 0
    count: int = 0


@dataclass(eq=False)
class Client:
    number: int
    user: User
    echo: bool = True
    headers: bool = True
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)  # replies it may give, and how many it gave

    @property
    def account(self) -> str:
        return self.user.account


class Service(NamedTuple):
    """An export as it is told apart from others: account and subject."""

    account: str
    subject: str


class Response(NamedTuple):
    """The way back: who publishes to the symbol in ``owner`` reaches ``to`` in ``asker``."""

    owner: str
    asker: str
    to: str
    kind: ResponseType
    service: Service
    share: bool


class Flow(NamedTuple):
    """A message on its way; ``path``: the exports it came through, and whether they share who asks."""

    sender: Client
    message: Message
    path: tuple[tuple[Service, bool], ...] = ()
    imported: bool = False


@dataclass
class Expected:
    """What has to come: each of ``plain``, one of each of ``groups``, and one of ``status`` if there are any.

    ``silent``: the 503 may be missing.
    """

    plain: list[Delivery] = field(default_factory=list)
    groups: list[list[Delivery]] = field(default_factory=list)
    status: list[Delivery] = field(default_factory=list)
    silent: bool = False
    errors: list[Error] = field(default_factory=list)


def transform(subject: str, source: str, destination: str) -> str:
    """``subject``, which ``source`` covers, as ``destination`` says: ``*`` in their order, ``$1``, partitions."""
    tokens, pattern = subject.split("."), source.split(".")
    wild = [token for token, p in zip(tokens, pattern, strict=False) if p == "*"]
    stars = iter(wild)
    made: list[str] = []
    for token in destination.split("."):
        if token == "*":
            made.append(next(stars))
        elif token == ">":
            made.extend(tokens[len(pattern) - 1 :])
        elif is_placeholder(token):
            made.append(wild[int(token[1:]) - 1])
        elif token.startswith("{{partition("):
            count, *numbers = (int(n) for n in token[len("{{partition(") : -3].split(","))
            made.append(str(_fnv("".join(wild[n - 1] for n in numbers) if numbers else subject) % count))
        else:
            made.append(token)
    return ".".join(made)


def _fnv(text: str) -> int:
    """FNV-1a of 32 bits."""
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def to_local(entry: Import, subject: str) -> str:
    """The exporter's subject as the importer sees it."""
    return transform(subject, entry.subject, entry.to or entry.subject)


def to_exporter(entry: Import, subject: str) -> str:
    """The other way round."""
    local = entry.to or entry.subject
    theirs = entry.subject.split(".")
    if not {"*", ">"} & set(theirs):
        return entry.subject
    wild = [t for t, p in zip(subject.split("."), placed(entry).split("."), strict=False) if p == "*"]
    marks = [t for t in local.split(".") if t == "*" or is_placeholder(t)]
    order = {int(mark[1:]) if mark != "*" else at + 1: wild[at] for at, mark in enumerate(marks)}
    values = iter(order[number] for number in range(1, theirs.count("*") + 1))
    rest = subject.split(".")[len(local.split(".")) - 1 :]
    return ".".join(
        piece
        for token in theirs
        for piece in ([next(values)] if token == "*" else rest if token == ">" else [token])
    )


class Accounts:
    """The server. Operations are applied one after the other; each says what has to come of it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.accounts = {account.name: account for account in graph.accounts}
        self.clients: dict[int, Client] = {}
        self.responses: dict[str, Response] = {}
        self._owners: dict[str, str] = {}  # of all reply subjects there have been
        self._before: set[str] = set()  # requests that a reload has seen
        self._expected = Expected()

    def open(self, number: int, user: User, echo: bool = True, headers: bool = True) -> None:
        self.clients[number] = Client(number, user, echo, headers)

    def reload(self, graph: Graph) -> None:
        """Exports, imports and mappings are these from now on."""
        self.graph = graph
        self.accounts = {account.name: account for account in graph.accounts}
        self._before.update(self.responses)
        for client in self.clients.values():
            client.owed = dict.fromkeys(client.owed, -1)

    def apply(self, number: int, operation: Operation) -> Expected:
        client = self.clients[number]
        self._expected = Expected()
        match operation:
            case Sub():
                self._subscribe(client, operation)
            case Unsub():
                self._unsubscribe(client, operation)
            case Pub():
                self._publish(client, operation)
        return self._expected

    def happened(self, deliveries: list[Delivery]) -> None:
        """These were the deliveries, without a 503: which members of groups had been chosen is known now."""
        for delivery in deliveries:
            client = self.clients[delivery.client]
            if client.user.responds and delivery.reply and not self._may_publish(client, delivery.reply):
                # of two copies nats-server lets the second take away what the first one allowed
                client.owed[delivery.reply] = -1 if client.owed.get(delivery.reply, 1) <= 0 else 0
            subscription = client.subscriptions.get(delivery.sid)
            if subscription is None:
                raise Unspecified("more copies than a subscription was to have")
            subscription.delivered += 1
            if subscription.delivered == subscription.count:
                self._remove(subscription)

    def alike(self, symbols: list[str]) -> bool:
        """Whether replies to these go the same way, so that nobody could tell one from another."""

        def way(symbol: str) -> tuple[object, ...]:
            response = self.responses.get(symbol)
            if response is None:
                return ()
            return (*response._replace(to=""), *(way(response.to) or (response.to,)))

        return len({way(symbol) for symbol in symbols}) == 1

    def _subscribe(self, client: Client, operation: Sub) -> None:
        if not client.user.permissions.may_subscribe(operation.subject):
            queue = f' using queue "{operation.queue}"' if operation.queue else ""
            text = f'Permissions Violation for Subscription to "{operation.subject}"{queue}'
            self._expected.errors.append(Error(client.number, text))
        elif operation.sid not in client.subscriptions:
            client.subscriptions[operation.sid] = Subscription(
                client, operation.subject, operation.queue, operation.sid
            )

    def _unsubscribe(self, client: Client, operation: Unsub) -> None:
        subscription = client.subscriptions.get(operation.sid)
        if subscription is None:
            return
        if operation.count > subscription.delivered:
            if subscription.queue or self._crosses_into(subscription):
                raise Unspecified("a count for what is imported, or for a queue group")
            subscription.count = operation.count
        else:
            self._remove(subscription)

    def _crosses_into(self, subscription: Subscription) -> bool:
        imports = self.accounts[subscription.client.account].imports
        return any(
            entry.kind is Kind.STREAM and collide(placed(entry), subscription.subject) for entry in imports
        )

    def _remove(self, subscription: Subscription) -> None:
        """Requests whose replies nobody of the account would receive any more are forgotten."""
        del subscription.client.subscriptions[subscription.sid]
        account = subscription.client.account
        for symbol, response in list(self.responses.items()):
            if (
                response.asker == account
                and matches(subscription.subject, response.to)
                and not self._interest(account, response.to)
            ):
                del self.responses[symbol]

    def _interest(self, account: str, subject: str) -> bool:
        return (
            subject.startswith("_R_.")
            or any(True for _ in self._subscriptions(account, subject, imported=False))
            or any(True for _ in self._service_imports(account, subject))
        )

    def _subscriptions(
        self, account: str, subject: str, imported: bool
    ) -> Iterator[tuple[Subscription, str]]:
        """Who in the account listens, and who imports it, with the subject that is theirs."""
        for client in self.clients.values():
            for subscription in client.subscriptions.values():
                if client.account == account and matches(subscription.subject, subject):
                    yield subscription, subject
                for entry in () if imported else self.accounts[client.account].imports:
                    if (
                        entry.kind is Kind.STREAM
                        and entry.account == account
                        and matches(entry.subject, subject)
                        and matches(subscription.subject, to_local(entry, subject))
                    ):
                        yield subscription, to_local(entry, subject)

    def _service_imports(self, account: str, subject: str) -> Iterator[Import]:
        for entry in self.accounts[account].imports:
            if entry.kind is Kind.SERVICE and matches(placed(entry), subject):
                yield entry

    def _mapped(self, account: str, subject: str) -> str:
        for mapping in self.accounts[account].mappings:
            if matches(mapping.source, subject):
                return transform(subject, mapping.source, mapping.destinations[0].subject)
        return subject

    def _may_publish(self, client: Client, subject: str) -> bool:
        return client.user.permissions.may_publish(subject)

    def _may_respond(self, client: Client, subject: str) -> bool:
        given = client.owed.get(subject)
        if given is None:
            return False
        if given < 0:
            raise Unspecified("a reply to a request that arrived twice, or before a reload")
        client.owed[subject] += 1
        if given:
            del client.owed[subject]
        return not given

    def _publish(self, client: Client, operation: Pub) -> None:
        """Permission is asked for the mapped subject."""
        subject = self._mapped(client.account, operation.subject)
        if not self._may_publish(client, subject) and not self._may_respond(client, subject):
            self._expected.errors.append(
                Error(client.number, f'Permissions Violation for Publish to "{subject}"')
            )
            return
        if operation.reply.startswith("_R_."):
            text = f'Permissions Violation for Publish with Reply of "{operation.reply}"'
            self._expected.errors.append(Error(client.number, text))
            return
        flow = Flow(client, Message(operation.payload, *split_headers(operation.headers)))
        delivered = self._deliver(flow, client.account, subject, operation.reply)
        # nats-server takes a reply as delivered, whether anybody got it or not
        is_reply = self._owners.get(subject) == client.account
        unheard = not self._expected.plain and not self._expected.groups
        self._expected.silent = is_reply and unheard
        if delivered and not self._expected.silent:
            return
        own = [
            s for s in client.subscriptions.values() if not s.queue and matches(s.subject, operation.reply)
        ]
        if operation.reply and own and client.headers:
            status = Message(b"", f"NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n".encode())
            self._expected.status = [Delivery(client.number, s.sid, operation.reply, "", status) for s in own]

    def _deliver(self, flow: Flow, account: str, subject: str, reply: str) -> bool:
        """The message is published to ``subject`` in this account; whether anyone got it."""
        groups: dict[str, list[Delivery]] = {}
        plain: list[Delivery] = []
        for subscription, local in self._subscriptions(account, subject, flow.imported):
            client = subscription.client
            if (client is flow.sender and not client.echo) or not client.user.permissions.may_receive(local):
                continue
            message = flow.message if client.headers else Message(flow.message.payload)
            delivery = Delivery(client.number, subscription.sid, local, reply, message)
            (groups.setdefault(subscription.queue, []) if subscription.queue else plain).append(delivery)
        self._expected.plain.extend(plain)
        self._expected.groups.extend(groups.values())
        delivered = bool(plain or groups)
        for entry in list(self._service_imports(account, subject)):
            delivered |= self._request(flow, account, entry, subject, reply)
        if self._owners.get(subject) == account:  # taken, whether somebody still waits for it or not
            delivered = True
            if subject in self.responses:
                self._respond(flow, subject, self.responses[subject], reply)
        return delivered

    def _request(self, flow: Flow, importer: str, entry: Import, subject: str, reply: str) -> bool:
        """A service import takes the message into the exporting account."""
        exporter = self.accounts[entry.account]
        export = granting(exporter, entry)[0]
        service = Service(exporter.name, export.subject)
        if service in {passed for passed, _ in flow.path}:
            return False
        symbol = self._new_reply(exporter.name, importer, reply, export, entry, service) if reply else ""
        if flow.path and flow.message.info:  # the first hop's stays; later ones add through whom it came
            info = flow.message.info._replace(service=importer)
        else:
            info = Info(flow.sender.account, "", flow.sender.user.name if entry.share else "")
        headers = b"NATS/1.0\r\n\r\n" if flow.message.headers is None else flow.message.headers
        message = Message(flow.message.payload, headers, info)
        onward = Flow(flow.sender, message, (*flow.path, (service, entry.share)), imported=True)
        subject = self._mapped(exporter.name, to_exporter(entry, subject))
        delivered = self._deliver(onward, exporter.name, subject, symbol)
        if not delivered:
            self.responses.pop(symbol, None)
        return delivered

    def _new_reply(
        self, owner: str, asker: str, to: str, export: Export, entry: Import, service: Service
    ) -> str:
        return self._keep(Response(owner, asker, to, export.response_type, service, entry.share))

    def _keep(self, response: Response) -> str:
        symbol = f"_R_.m.{len(self._owners) + 1}"
        self._owners[symbol] = response.owner
        self.responses[symbol] = response
        return symbol

    def _respond(self, flow: Flow, symbol: str, response: Response, reply: str) -> None:
        """A reply crosses back. One that asks for a reply itself gets a way back as well."""
        if symbol in self._before:
            raise Unspecified("a reply to a request from before a reload")
        if response.service in {passed for passed, _ in flow.path}:
            return
        again = (
            self._keep(response._replace(owner=response.asker, asker=response.owner, to=reply))
            if reply
            else ""
        )
        onward = Flow(
            flow.sender, flow.message, (*flow.path, (response.service, response.share)), imported=True
        )
        to = self._mapped(response.asker, response.to)
        if any(True for _ in self._service_imports(response.asker, to)):
            raise Unspecified("a reply that is a request")
        delivered = self._deliver(onward, response.asker, to, again)
        empty = not flow.message.payload and not flow.message.headers
        if not delivered or response.kind is ResponseType.SINGLETON or empty:
            self.responses.pop(symbol, None)


def split_headers(block: bytes | None) -> tuple[bytes | None, Info | None]:
    """The block without ``Nats-Request-Info``, and what that says."""
    if block is None:
        return None, None
    lines = block.split(b"\r\n")
    infos = [line for line in lines if line.startswith(b"Nats-Request-Info:")]
    assert len(infos) <= 1, block
    rest = b"\r\n".join(line for line in lines if line not in infos)
    if not infos:
        return rest, None
    said = json.loads(infos[0].partition(b":")[2])
    return rest, Info(said.get("acc", ""), said.get("svc", ""), said.get("user", ""))
