"""Store-and-forward of an edge from its configuration, at the start and with each reload: the streams are made if they
are not there, one forwarder for each account.

A reload has two parts. ``prepare`` does what may fail, and what it did can be taken back: it looks at everything, and
makes streams that are not there. ``use`` cannot fail. What an entry is and how far the hub has it, is kept by its name
in the store (``log_stream.py``), so an entry that goes and comes again goes on where it was; one that stays is the same
object with other wishes.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from phloem.edge.forward.forwarder import Forwarder
from phloem.edge.forward.log_stream import LogStream
from phloem.edge.forward.metered import Metered
from phloem.edge.forward.publisher import Publisher
from phloem.edge.forward.settings import entry_of, keep_of, stream_of
from phloem.edge.forward.streams import check as check_stream
from phloem.edge.forward.streams import following, make
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Entry
from phloem.shared.forward.messages import Epoch
from phloem.shared.limits import SYNC_INTERVAL_NS

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.options import Options
    from phloem.shared.server.options_forward import Forward
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")


class Way:
    """What is forwarded of one account."""

    def __init__(self, server: "Server", account: str) -> None:
        self._server = server
        self._account = account
        self._blocks: dict[str, Forward] = {}
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
        entries = [entry_of(block) for block in self._blocks.values()]
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
        server, js = self._server, self._server.jetstream
        assert js is not None
        to = server.options.phloem.forward_to
        if to != "jetstream":
            self.forwarder = Forwarder(
                server,
                self._account,
                self.streams,
                entries,
                boot=js.boot,
                allowance=Metered(server),
                reopen=self._reopened,
            )
        if to != "phloem":
            self.publisher = Publisher(
                server,
                self._account,
                dict(self.streams),
                entries,
                allowance=Metered(server),
                auto=to == "auto",
            )

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
        js = server.jetstream
        assert js is not None
        home = js.accounts.get(self._account)
        stream = home.streams.get(entry.stream) if home is not None else None
        if stream is None:
            return None
        check_stream(block, stream)
        now = Epoch(server.rng.getrandbits(63) | 1, 1, js.boot, js.ahead_ns)
        return LogStream(entry, stream, keep_of(block), now)

    def _reopened(self, entry: Entry) -> LogStream | None:
        try:
            return self._opened(entry)
        except ConfigError as error:
            log.error("%s", error)
            return None

    def stop(self) -> None:
        """No more is sent."""
        if self.forwarder is not None:
            self.forwarder.stop()
        if self.publisher is not None:
            self.publisher.stop()
        self.forwarder = self.publisher = None


class Forwarding:
    """All that a server forwards."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._ways: dict[str, Way] = {}
        self._blocks: dict[str, Forward] = {}

    @property
    def forwarders(self) -> list[Forwarder]:
        """What sends to a hub of phloem's."""
        return [way.forwarder for way in self._ways.values() if way.forwarder is not None]

    @property
    def publishers(self) -> list[Publisher]:
        """What publishes to any other."""
        return [way.publisher for way in self._ways.values() if way.publisher is not None]

    @property
    def lanes(self) -> list[LogStream]:
        """All streams."""
        return [lane for way in self._ways.values() for lane in way.streams.values()]

    def figures(self) -> dict[str, Any]:
        """For monitoring. ``stuck``: why messages wait and nothing moves, by account, where that is so."""
        stuck = {name: way.stuck for name, way in self._ways.items() if way.stuck}
        return {"stuck": stuck, "waiting": sum(lane.waiting for lane in self.lanes)}

    def prepare(self, new: "Options") -> Callable[[], None]:
        """Whether these blocks can be used instead, and the streams that they need and that are not there. Raises
        ConfigError; gives what takes it back."""
        made: list[Stream] = []

        def undo() -> None:
            for stream in made:
                stream.delete()

        try:
            for block in new.forward:
                before = self._blocks.get(block.name)
                if block != before:
                    self._prepare(block, before, new, made)
        except ConfigError:
            undo()
            raise
        return undo

    def _prepare(
        self, block: "Forward", before: "Forward | None", new: "Options", made: "list[Stream]"
    ) -> None:
        account, js = block.account or GLOBAL_ACCOUNT, self._server.jetstream
        here = account, stream_of(block)
        if before is not None and here != (before.account or GLOBAL_ACCOUNT, stream_of(before)):
            raise ConfigError(
                f'forward "{block.name}": what its stream still has would not be sent if it had another stream or '
                "account; give the new one another name, or restart"
            )
        if js is None:
            raise ConfigError(
                "forward needs jetstream to be there before: add jetstream, reload, then forward"
            )
        home = js.accounts.get(account)
        if home is None:
            raise ConfigError(
                f'forward "{block.name}": account "{account}" has no JetStream; a new account is there after a reload '
                "of its own"
            )
        stream = home.streams.get(stream_of(block))
        if stream is None:
            made.append(make(home, block))
        else:
            check_stream(block, stream)
            following(block, before, stream)

    def use(self, new: "Options") -> None:
        """These blocks from now on; they are prepared."""
        blocks: dict[str, list[Forward]] = {account: [] for account in self._ways}
        for block in new.forward:
            account = block.account or GLOBAL_ACCOUNT
            blocks.setdefault(account, []).append(block)
            if block != self._blocks.get(block.name):
                self._follow(block, account)
        self._set_window([block.sync_ns for block in new.forward if block.sync_ns])
        for account, mine in blocks.items():
            self._ways.setdefault(account, Way(self._server, account)).use(mine)
            if not mine:
                del self._ways[account]
        self._blocks = {block.name: block for block in new.forward}

    def _follow(self, block: "Forward", account: str) -> None:
        js = self._server.jetstream
        assert js is not None
        stream = js.accounts[account].streams[stream_of(block)]
        if (config := following(block, self._blocks.get(block.name), stream)) is not None:
            stream.update(config)
            log.info('forward "%s": stream "%s" was changed as it says', block.name, stream.name)

    def _set_window(self, windows: list[int]) -> None:
        """There is one sync for all that wait for one, so the shortest window holds."""
        js = self._server.jetstream
        if js is not None:
            own = js.options.sync_interval_ns
            js.engine.set_sync_interval(
                min([*windows, own]) if own else min(windows, default=SYNC_INTERVAL_NS)
            )

    def stop(self) -> None:
        """No more is sent."""
        for way in self._ways.values():
            way.stop()
        self._ways = {}
