"""What is forwarded of one account: its streams, and whoever sends them to a hub of either kind.

What an entry is and how far the hub has it is kept by its name in the store (``log_stream.py``), so an entry that goes
and comes again goes on where it was; one that stays is the same object with other wishes. A stream that its owner
deletes, and perhaps makes again, is noticed with the next tick.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from phloem.edge.forward.forwarder import Forwarder
from phloem.edge.forward.log_stream import LogStream
from phloem.edge.forward.metered import Metered
from phloem.edge.forward.publisher import Publisher
from phloem.edge.forward.settings import entry_of, keep_of
from phloem.edge.forward.streams import check as check_stream
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Entry
from phloem.shared.forward.messages import Epoch

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.jetstream.system import JetStream
    from phloem.shared.server.options_forward import Forward
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")


class Way:
    """What is forwarded of one account."""

    def __init__(self, server: "Server", account: str, on_renewed: Callable[[], None]) -> None:
        """``on_renewed`` is told when streams came or went while the blocks stayed."""
        assert server.jetstream is not None
        self._server = server
        self._js: JetStream = server.jetstream
        self._account = account
        self._on_renewed = on_renewed
        self._blocks: dict[str, Forward] = {}
        self._entries: list[Entry] = []
        self._unfit: dict[str, Stream] = {}  # what is there and cannot be forwarded, told once
        self.streams: dict[str, LogStream] = {}
        self.forwarder: Forwarder | None = None
        self.publisher: Publisher | None = None

    @property
    def stuck(self) -> str:
        """Why nothing moves, although it should; empty: it does, or nothing is to be done."""
        return next(
            (one.stuck for one in (self.forwarder, self.publisher) if one is not None and one.stuck), ""
        )

    def use(self, blocks: "Iterable[Forward]") -> None:
        """These and no others, from now on."""
        self._blocks = {block.name: block for block in blocks}
        self._entries = entries = [entry_of(block) for block in self._blocks.values()]
        self._unfit = {}
        for name in [name for name in self.streams if name not in self._blocks]:
            self._leave(name)
        for entry in entries:
            if (stream := self.streams.get(entry.name)) is not None:
                stream.use(entry, keep_of(self._blocks[entry.name]))
            elif (opened := self._reopened(entry)) is not None:
                self.streams[entry.name] = opened
        if not self._blocks:
            self.stop()
        elif self.forwarder is None and self.publisher is None:
            self._begin(entries)
        else:
            if self.forwarder is not None:
                self.forwarder.use(entries, self.streams)
            if self.publisher is not None:
                self.publisher.use(entries, self.streams)

    def _begin(self, entries: list[Entry]) -> None:
        server, js = self._server, self._js
        to = server.options.phloem.forward_to
        if to != "jetstream":
            self.forwarder = Forwarder(
                server,
                self._account,
                self.streams,
                entries,
                boot=js.boot,
                allowance=Metered(server),
                renew=self.renew,
            )
        if to != "phloem":
            self.publisher = Publisher(
                server,
                self._account,
                self.streams,
                entries,
                allowance=Metered(server),
                auto=to == "auto",
            )
        js.watchers.append(self.renew)

    def _leave(self, name: str) -> None:
        """It is not forwarded any more. Its stream stays, and what is known of it."""
        stream = self.streams.pop(name)
        stream.settle(self._server.clock.monotonic_ns(), at_once=True)
        left = stream.waiting
        log.log(
            logging.WARNING if left else logging.INFO,
            'forward "%s": is not forwarded any more; stream "%s" stays, with %d messages that the hub does not have',
            name,
            stream.entry.stream,
            left,
        )

    def _opened(self, entry: Entry) -> LogStream | None:
        """What is there now of an entry; None: its stream is not. Raises ConfigError."""
        server, block = self._server, self._blocks[entry.name]
        stream = self._there(entry)
        if stream is None:
            return None
        check_stream(block, stream)
        now = Epoch(server.rng.getrandbits(63) | 1, 1, self._js.boot, self._js.ahead_ns)
        return LogStream(entry, stream, keep_of(block), now)

    def _reopened(self, entry: Entry) -> LogStream | None:
        try:
            return self._opened(entry)
        except ConfigError as error:
            log.error("%s", error)
            if (there := self._there(entry)) is not None:
                self._unfit[entry.name] = there
            return None

    def _there(self, entry: Entry) -> "Stream | None":
        home = self._js.accounts.get(self._account)
        return home.streams.get(entry.stream) if home is not None else None

    def renew(self) -> None:
        """After each tick: streams that were deleted are left alone, and those that were made, or made again, are other
        stores. Whoever sends is told at once: of a stream that is gone nothing can be asked."""
        stale = []
        for entry in self._entries:
            known, there = self.streams.get(entry.name), self._there(entry)
            if (known.stream if known is not None else self._unfit.get(entry.name)) is not there:
                stale.append(entry)
        if not stale:
            return
        for entry in stale:
            known = self.streams.pop(entry.name, None)
            self._unfit.pop(entry.name, None)
            if (opened := self._reopened(entry)) is not None:
                self.streams[entry.name] = opened
            now = (
                ("is another one now" if known else "is there now")
                if opened
                else "was deleted, and is not forwarded"
            )
            if opened or known:
                log.warning('forward "%s": stream "%s" %s', entry.name, entry.stream, now)
        if self.forwarder is not None:
            self.forwarder.renewed()
        if self.publisher is not None:
            self.publisher.use(self._entries, self.streams)
        self._on_renewed()

    def stop(self) -> None:
        """No more is sent."""
        if self.forwarder is not None:
            self.forwarder.stop()
        if self.publisher is not None:
            self.publisher.stop()
        if self.forwarder is not None or self.publisher is not None:
            self._js.watchers.remove(self.renew)
        self.forwarder = self.publisher = None
