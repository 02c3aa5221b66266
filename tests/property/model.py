"""A broker in lists and dicts: what each connection must receive, said as plainly as can be.

It is the reference for the compiled one, so it is written to be read, not to be quick: no trie, no
cache, no plan. It covers a lone server with one account (wire.md 1.1, 1.3, 1.6 to 1.8, 1.11, 1.12):
CONNECT options, SUB, UNSUB and its count, queue groups, wildcards, echo, headers and cutting them
off, no responders, permissions, verbose and pedantic answers, and errors that close.

What a broker is free to choose, the model does not choose: it is handed what the connections
received (:class:`Received`), takes from it the frames that an operation accounts for, and accepts
whichever legal choice explains them. Free are the order of the copies of one message on one
connection, the member of a queue group, and which of several own subscriptions gets a 503. Where
more than one choice of members explains what came, as when the same message was published twice,
only a later message shows which it was: :class:`Possible` goes on with all of them.
"""

import copy
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field


class Mismatch(AssertionError):
    """What was received has no legal explanation."""


def matches(pattern: str, subject: str) -> bool:
    """True if ``pattern`` gets ``subject``, whose own ``*`` and ``>`` are plain text."""
    want, have = pattern.split("."), subject.split(".")
    if "" in have:
        return False
    if want[-1] == ">":
        want = want[:-1]
        if len(have) <= len(want):
            return False
        have = have[: len(want)]
    return len(want) == len(have) and all(w in ("*", h) for w, h in zip(want, have, strict=True))


def covers(entry: str, pattern: str) -> bool:
    """True if ``entry`` matches all that ``pattern`` can match; nothing covers a malformed one."""
    outer, inner = entry.split("."), pattern.split(".")
    if "" in inner:
        return False
    if outer[-1] == ">":
        outer = outer[:-1]
        if len(inner) <= len(outer):
            return False
        inner = inner[: len(outer)]
    return len(outer) == len(inner) and all(
        o == i or (o == "*" and i != ">") for o, i in zip(outer, inner, strict=True)
    )


def is_valid(subject: str) -> bool:
    """True if one may subscribe to it."""
    tokens = subject.split(".")
    return "" not in tokens and ">" not in tokens[:-1]


def is_literal(subject: str) -> bool:
    """True if it is a subject to publish to, in a pedantic eye."""
    tokens = subject.split(".")
    return not {"", "*", ">"} & set(tokens)


@dataclass(frozen=True)
class Permissions:
    """Of one user; None allows everything, as an absent block does."""

    publish_allow: tuple[str, ...] | None = None
    publish_deny: tuple[str, ...] = ()
    subscribe_allow: tuple[str, ...] | None = None
    subscribe_deny: tuple[str, ...] = ()

    def may_publish(self, subject: str) -> bool:
        allowed = self.publish_allow is None or any(matches(entry, subject) for entry in self.publish_allow)
        return allowed and not any(matches(entry, subject) for entry in self.publish_deny)

    def may_subscribe(self, subject: str) -> bool:
        allowed = self.subscribe_allow is None or any(
            covers(entry, subject) for entry in self.subscribe_allow
        )
        return allowed and not any(covers(entry, subject) for entry in self.subscribe_deny)

    def may_receive(self, subject: str) -> bool:
        """The deny list again, for what a wider subscription lets through."""
        return not any(matches(entry, subject) for entry in self.subscribe_deny)


@dataclass(frozen=True)
class Connect:
    """``options`` are the JSON fields that are given; a user may be named in the first CONNECT only."""

    options: tuple[tuple[str, bool | str], ...] = ()

    def encode(self) -> bytes:
        return f"CONNECT {json.dumps(dict(self.options))}\r\n".encode()


@dataclass(frozen=True)
class Sub:
    subject: str
    queue: str
    sid: str

    def encode(self) -> bytes:
        return f"SUB {self.subject} {self.queue}{' ' if self.queue else ''}{self.sid}\r\n".encode()


@dataclass(frozen=True)
class Unsub:
    sid: str
    count: int | None = None

    def encode(self) -> bytes:
        return f"UNSUB {self.sid}{'' if self.count is None else f' {self.count}'}\r\n".encode()


@dataclass(frozen=True)
class Pub:
    """PUB, or HPUB if there is a header block (which may be empty)."""

    subject: str
    reply: str
    payload: bytes
    headers: bytes | None = None

    def encode(self) -> bytes:
        names = f"{self.subject} {self.reply}{' ' if self.reply else ''}"
        if self.headers is None:
            return f"PUB {names}{len(self.payload)}\r\n".encode() + self.payload + b"\r\n"
        sizes = f"{len(self.headers)} {len(self.headers) + len(self.payload)}"
        return f"HPUB {names}{sizes}\r\n".encode() + self.headers + self.payload + b"\r\n"


@dataclass(frozen=True)
class Ping:
    def encode(self) -> bytes:
        return b"PING\r\n"


@dataclass(frozen=True)
class Bad:
    """Bytes that end the connection, with ``-ERR 'error'`` or, if that is empty, without a word."""

    data: bytes
    error: str

    def encode(self) -> bytes:
        return self.data


Operation = Connect | Sub | Unsub | Pub | Ping | Bad


class Received:
    """What connections have received and no operation has yet accounted for, cut into frames."""

    def __init__(self) -> None:
        self._frames: dict[int, list[bytes]] = {}

    def add(self, connection: int, frames: Iterable[bytes]) -> None:
        self._frames.setdefault(connection, []).extend(frames)

    def first(self, connection: int, count: int) -> Counter[bytes]:
        return Counter(self._frames.get(connection, [])[:count])

    def take(self, connection: int, count: int) -> None:
        del self._frames.get(connection, [])[:count]

    def expect(self, connection: int, frame: bytes) -> None:
        """The connection's next frame is this one."""
        if self.first(connection, 1) != Counter([frame]):
            raise Mismatch(f"{connection} wanted {frame!r}, has {self._frames.get(connection, [])[:5]!r}")
        self.take(connection, 1)

    def expect_nothing(self) -> None:
        """Every frame has been accounted for."""
        left = {connection: frames for connection, frames in self._frames.items() if frames}
        if left:
            raise Mismatch(f"nothing accounts for {left!r}")

    def whole(self) -> str:
        """All of it."""
        return repr(sorted((connection, frames) for connection, frames in self._frames.items() if frames))

    def __repr__(self) -> str:
        return repr({connection: frames[:8] for connection, frames in self._frames.items() if frames})


@dataclass
class Subscription:
    client: "Client"
    subject: str
    queue: str
    sid: str
    delivered: int = 0
    count: int = 0  # ends after so many; 0 is never

    def frame(self, message: Pub, headers: bytes) -> bytes:
        """The message as this subscription's client gets it."""
        reply = f"{message.reply} " if message.reply else ""
        head = f"{message.subject} {self.sid} {reply}"
        if headers and self.client.options["headers"]:
            sizes = f"{len(headers)} {len(headers) + len(message.payload)}"
            return f"HMSG {head}{sizes}\r\n".encode() + headers + message.payload + b"\r\n"
        return f"MSG {head}{len(message.payload)}\r\n".encode() + message.payload + b"\r\n"


DEFAULTS: dict[str, bool | str] = {
    "verbose": True,
    "pedantic": True,
    "echo": True,
    "headers": False,
    "no_responders": False,
    "user": "",
}


@dataclass(eq=False)
class Client:
    number: int
    permissions: Permissions
    options: dict[str, bool | str] = field(default_factory=lambda: dict(DEFAULTS))
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    connected: bool = False
    closed: bool = False


Choice = list[tuple[int, str]]  # who gets a message: client and sid of each


def _frames(chosen: Iterable[Subscription], message: Pub) -> dict[int, Counter[bytes]]:
    """What each connection is sent."""
    found: dict[int, Counter[bytes]] = {}
    for one in chosen:
        found.setdefault(one.client.number, Counter())[one.frame(message, message.headers or b"")] += 1
    return found


class Model:
    """The broker. ``users`` are those that a CONNECT may name; "" is who names none.

    It has a no_auth_user: then whatever comes first stands for a CONNECT without options, and a
    CONNECT that follows is a second one.
    """

    def __init__(self, users: dict[str, Permissions]) -> None:
        self._users = users
        self.clients: dict[int, Client] = {}
        self.received = Received()
        self.others: list[Model] = []  # as it is as well, if members of queue groups were others

    def open(self, number: int) -> None:
        self.clients[number] = Client(number, self._users[""])

    @property
    def state(self) -> str:
        """Equal for models that will never differ."""
        subscriptions = [(s.client.number, s.sid, s.delivered, s.count) for s in self._all_subscriptions()]
        return f"{subscriptions} {self.received.whole()}"

    def apply(self, number: int, operation: Operation) -> None:
        """Carry ``operation`` out and account for the frames it causes; Mismatch if that cannot be done."""
        client = self.clients[number]
        match operation:
            case Connect():
                self._connect(client, operation)
            case Sub():
                self._subscribe(client, operation)
            case Unsub():
                self._unsubscribe(client, operation)
            case Pub():
                self._publish(client, operation)
            case Ping():
                self.received.expect(number, b"PONG\r\n")
            case Bad():
                self._close(client, operation.error)
        client.connected = True

    def _ok(self, client: Client) -> None:
        if client.options["verbose"]:
            self.received.expect(client.number, b"+OK\r\n")

    def _error(self, client: Client, text: str) -> None:
        self.received.expect(client.number, f"-ERR '{text}'\r\n".encode())

    def _close(self, client: Client, error: str) -> None:
        if error:
            self._error(client, error)
        client.closed = True
        client.subscriptions.clear()

    def _connect(self, client: Client, operation: Connect) -> None:
        """A second CONNECT keeps options it does not name, and drops subscriptions."""
        if client.connected:
            client.subscriptions.clear()
        client.options.update(operation.options)
        client.permissions = self._users[str(client.options["user"])]
        if client.options["no_responders"] and not client.options["headers"]:
            self._close(client, "no responders requires headers support")
        else:
            self._ok(client)

    def _subscribe(self, client: Client, operation: Sub) -> None:
        if not client.permissions.may_subscribe(operation.subject):
            queue = f' using queue "{operation.queue}"' if operation.queue else ""
            self._error(client, f'Permissions Violation for Subscription to "{operation.subject}"{queue}')
        elif operation.sid in client.subscriptions:
            self._ok(client)
        elif not is_valid(operation.subject):
            self._error(client, "Invalid Subject")
        else:
            new = Subscription(client, operation.subject, operation.queue, operation.sid)
            client.subscriptions[operation.sid] = new
            self._ok(client)

    def _unsubscribe(self, client: Client, operation: Unsub) -> None:
        self._ok(client)
        subscription = client.subscriptions.get(operation.sid)
        if subscription is None:
            return
        if (operation.count or 0) > subscription.delivered:
            subscription.count = operation.count or 0
        else:
            del client.subscriptions[operation.sid]

    def _publish(self, client: Client, message: Pub) -> None:
        if message.headers is not None and not client.options["headers"]:
            self._close(client, "")
            return
        if client.options["pedantic"] and not is_literal(message.subject):
            self._error(client, "Invalid Publish Subject")
        if not client.permissions.may_publish(message.subject):
            self._error(client, f'Permissions Violation for Publish to "{message.subject}"')
            return
        self._ok(client)
        plain, groups = self._receivers(client, message.subject)
        chosen, *others = self._explanations(plain, groups, message)
        for other in others:
            self.others.append(copy.deepcopy(self, {id(self.others): []}))
            self.others[-1]._deliver(other, message)
        self._deliver(chosen, message)
        if not chosen and message.reply and client.options["no_responders"]:
            self._no_responders(client, message)

    def _deliver(self, chosen: "Choice", message: Pub) -> None:
        """These get it: the frames are accounted for, and subscriptions that have got enough end."""
        found = [self.clients[number].subscriptions[sid] for number, sid in chosen]
        for number, want in _frames(found, message).items():
            self.received.take(number, want.total())
        for subscription in found:
            subscription.delivered += 1
            if subscription.delivered == subscription.count:
                del subscription.client.subscriptions[subscription.sid]

    def _receivers(self, sender: Client, subject: str) -> tuple[list[Subscription], list[list[Subscription]]]:
        """Plain subscriptions and the members of each queue group that may get ``subject``."""
        plain: list[Subscription] = []
        groups: dict[str, list[Subscription]] = {}
        for subscription in self._all_subscriptions():
            client = subscription.client
            if (
                matches(subscription.subject, subject)
                and (client is not sender or client.options["echo"])
                and client.permissions.may_receive(subject)
            ):
                (groups.setdefault(subscription.queue, []) if subscription.queue else plain).append(
                    subscription
                )
        return plain, list(groups.values())

    def _all_subscriptions(self) -> Iterator[Subscription]:
        for client in self.clients.values():
            yield from client.subscriptions.values()

    def _explanations(
        self, plain: list[Subscription], groups: list[list[Subscription]], message: Pub
    ) -> list["Choice"]:
        """Choices of members that explain what was received; one at least."""
        found = []
        for members in itertools.product(*groups):
            chosen = [*plain, *members]
            frames = _frames(chosen, message)
            if all(self.received.first(number, want.total()) == want for number, want in frames.items()):
                found.append([(one.client.number, one.sid) for one in chosen])
        if not found:
            raise Mismatch(
                f"{message} for {plain} and one of each of {groups} is not what came: {self.received}"
            )
        return found

    def _no_responders(self, client: Client, message: Pub) -> None:
        """503 on one of the asker's own plain subscriptions; it counts towards no UNSUB."""
        head = f"NATS/1.0 503\r\nNats-Subject: {message.subject}\r\n\r\n".encode()
        answer = Pub(message.reply, "", b"")
        own = [
            s.frame(answer, head)
            for s in client.subscriptions.values()
            if not s.queue and matches(s.subject, message.reply)
        ]
        if own:
            seen = next(iter(self.received.first(client.number, 1)), b"")
            self.received.expect(client.number, seen if seen in own else own[0])


class Possible:
    """All models that explain what has come so far; ``MOST`` of them at most, which no script has needed."""

    MOST = 200

    def __init__(self, users: dict[str, Permissions]) -> None:
        self._models = [Model(users)]

    def open(self, number: int) -> None:
        for model in self._models:
            model.open(number)

    def closed(self, number: int) -> bool:
        """Whether the connection is over; what ends one is no choice."""
        return self._models[0].clients[number].closed

    def add(self, connection: int, frames: list[bytes]) -> None:
        """What a connection has received."""
        for model in self._models:
            model.received.add(connection, frames)

    def apply(self, number: int, operation: Operation) -> None:
        """Carry ``operation`` out in each; Mismatch if none explains it."""
        self._keep(lambda model: model.apply(number, operation))

    def expect_nothing(self) -> None:
        """Every frame has been accounted for; Mismatch if in none."""
        self._keep(lambda model: model.received.expect_nothing())

    def _keep(self, step: Callable[[Model], None]) -> None:
        kept: dict[str, Model] = {}
        problem: Mismatch | None = None
        for model in self._models:
            try:
                step(model)
            except Mismatch as error:
                problem = problem or error
                continue
            others, model.others = model.others, []
            for one in (model, *others):
                kept.setdefault(one.state if others or len(self._models) > 1 else "", one)
        if not kept:
            assert problem is not None
            raise problem
        self._models = list(kept.values())[: self.MOST]
