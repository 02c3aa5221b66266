"""Groups of messages into a stream, each of them behind the one before it: what a bridge stores of its boards.

A group says which message it expects to be the last one on a pattern of subjects; its messages are stored in order as
long as the stream takes them at once (``Stream.take_all``), so that nothing lies behind a hole.

Who is not in this process asks with ``$JS.API.PHLOEM.PLACE.<stream>``, which nats-server does not know, and in
MessagePack: the pattern, the group's number, what is expected or nil, and the messages as subject, header block and
payload. Nil: they are to follow the group that has the number before, of the same connection and pattern, which was
stored whole, and nothing else (no number comes twice on a connection). So a client has many of them under way without
knowing the stream's numbers, and one that was lost, refused or stored in part takes all behind it along.

The answer comes when the disk has them: ``{"seq":N,"count":N}``, the number of the last one and how many they were;
fewer than were sent, or none, if the stream does more than to keep messages, has no room, or the client may not publish
all of that pattern: then the usual way has the answer. Without a body the question is whether there are groups here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import Rules, permission_lists
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.wire.subjects import collide, is_literal, is_valid, matches

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.stream import Stream

WORDS = "PHLOEM.PLACE."
Message = tuple[bytes, bytes, bytes]  # subject, header block, payload


class Asked(msgspec.Struct, array_like=True):
    """A group as it is sent."""

    pattern: str
    number: int
    after: int | None
    messages: list[Message]


class _Before(NamedTuple):
    """The last group of a pattern that was stored whole."""

    cid: int
    number: int
    last: int


class Groups:
    """Those of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._last_seq = 0  # of the stream, when the last group was stored
        self._last_of: dict[str, int] = {}  # by pattern, as long as nobody else stores there
        self._before: dict[str, _Before] = {}  # by pattern
        self._subjects: dict[bytes, str] = {}  # that are right, and of which pattern

    def place(self, pattern: str, after: int, messages: Sequence[Message]) -> tuple[int, int] | None:
        """As many as the stream takes at once, and its number of the last one (zeros: none), if the last message on
        ``pattern`` is ``after`` (0: there is none); None if it is another one."""
        stream = self._stream
        # A stream that keeps what somebody wants gives numbers to what it does not keep.
        if stream.config.retention == "interest":
            return 0, 0
        if not self._is_last(pattern, after):
            return None
        count = stream.engine.take_all(messages)
        last = stream.log.last_seq
        if not count:
            return 0, 0
        self._last_of[pattern], self._last_seq = last, last
        return count, last

    def follow(self, cid: int, asked: Asked) -> tuple[int, int] | None:
        """The same of a group that a connection sends."""
        before, after = self._before.get(asked.pattern), asked.after
        if after is None:
            if before is None or (before.cid, before.number + 1) != (cid, asked.number):
                return None
            after = before.last
        placed = self.place(asked.pattern, after, asked.messages)
        if placed is None or placed[0] < len(asked.messages):
            if before is not None and before.cid == cid:
                del self._before[asked.pattern]
        else:
            if len(self._before) >= limits.GROUP_PATTERNS:
                self._before.clear()
            self._before[asked.pattern] = _Before(cid, asked.number, placed[1])
        return placed

    def are_right(self, asked: Asked, longest: int) -> bool:
        """Whether all subjects are of the pattern, and such as a client could publish to: ``longest`` is what it may
        say in a line."""
        known = self._subjects
        if len(asked.pattern) > longest:
            return False
        for subject, _, _ in asked.messages:
            if known.get(subject) != asked.pattern:
                if len(subject) > longest:
                    return False
                text = subject.decode(errors="surrogateescape")
                if not (is_valid(text) and is_literal(text) and matches(asked.pattern, text)):
                    return False
                if len(known) >= limits.GROUP_SUBJECTS:
                    known.clear()
                if len(subject) <= limits.GROUP_SUBJECT_BYTES:
                    known[subject] = asked.pattern
        return True

    def _is_last(self, pattern: str, seq: int) -> bool:
        """Whether nobody has stored anything behind this message, which may have been removed meanwhile; or it is
        the last one of those that are there, as a client is told that asks."""
        lasts = self._last_of
        if self._last_seq != self._stream.log.last_seq:
            lasts.clear()
        if lasts.get(pattern) == seq:
            return True
        if pattern not in lasts and (
            len(lasts) >= limits.GROUP_PATTERNS or any(collide(pattern, other) for other in lasts)
        ):
            lasts.clear()
        return self._stream.publish.last_on(pattern.encode()) == seq


def serve(account: "AccountJetStream", name: str, reply: bytes, body: bytes) -> None:
    """A request of a client, in its turn."""
    system = account.system
    if not body:
        system.engine.answer(account.kernel_account, reply, b"", b"{}")
        return
    log = None
    try:
        stream = account.streams.get(name)
        if stream is None:
            raise error(10059)
        count, last = _place(account, stream, body)
        answer, log = b'{"seq":%d,"count":%d}' % (last, count), stream.log if count else None
    except ApiError as problem:
        answer = msgspec.json.encode({"error": problem.as_dict()})
    system.engine.answer(account.kernel_account, reply, b"", answer, log)


def _place(account: "AccountJetStream", stream: "Stream", body: bytes) -> tuple[int, int]:
    try:
        asked = msgspec.msgpack.decode(body, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise error(10025, err=str(problem)) from None
    server = account.system.server
    client = server.clients.open.get(server.kernel.source_cid)
    # Over a link, or from another account, the sender's permissions are not known here.
    if client is None or client.conn.account is not account.kernel_account:
        return 0, 0
    if not may_publish(server.members.rules(client.identity), asked.pattern):
        return 0, 0
    definition = server.crossings.definitions.get(account.name)
    if definition is not None and any(collide(one.source, asked.pattern) for one in definition.mappings):
        return 0, 0
    right = stream.groups.are_right(asked, server.options.max_control_line)
    if not (right and 0 < len(asked.messages) <= limits.GROUP_MESSAGES):
        raise error(10003)
    placed = stream.groups.follow(client.conn.cid, asked)
    if placed is None:
        raise error(10164)
    return placed


def may_publish(rules: Rules | None, pattern: str) -> bool:
    """Whether somebody may publish to all subjects of a pattern."""
    lists = permission_lists(rules)
    if lists is None:
        return True
    allow, deny = lists["pub_allow"], lists["pub_deny"]
    if allow is None:
        allow = () if lists["response_max"] else (pattern,)
    return any(matches(one, pattern) for one in allow) and not any(collide(one, pattern) for one in deny)
