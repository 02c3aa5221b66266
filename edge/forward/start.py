"""Store-and-forward of an edge from its configuration, at the start and with each reload: the streams are made if they
are not there, one ``Way`` for each account.

A reload has two parts. ``prepare`` does what may fail, and what it did can be taken back: it looks at everything, and
makes streams that are not there. ``use`` cannot fail. A start is not refused for want of space: what needs it is put
off until there is some, and all else goes on as the disk has it.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from phloem.edge.forward.settings import stream_of
from phloem.edge.forward.streams import NoRoom, following, make
from phloem.edge.forward.streams import check as check_stream
from phloem.edge.forward.way import Way
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SYNC_INTERVAL_NS

if TYPE_CHECKING:
    import asyncio

    from phloem.edge.forward.forwarder import Forwarder
    from phloem.edge.forward.log_stream import LogStream
    from phloem.edge.forward.publisher import Publisher
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.options import Options
    from phloem.shared.server.options_forward import Forward
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.forward")

LATE_S = 10.0  # between two looks whether there is room for what was put off


class Forwarding:
    """All that a server forwards."""

    def __init__(self, server: "Server", on_renewed: Callable[[], None] = lambda: None) -> None:
        """``on_renewed`` is told when other streams are forwarded, though the blocks are the same."""
        self._server = server
        self._on_renewed = on_renewed
        self._ways: dict[str, Way] = {}
        self._blocks: dict[str, Forward] = {}
        self._late: dict[str, Forward] = {}  # that the disk has no room for, and that hold as soon as it has
        self._timer: asyncio.TimerHandle | None = None

    @property
    def forwarders(self) -> "list[Forwarder]":
        """What sends to a hub of phloem's."""
        return [way.forwarder for way in self._ways.values() if way.forwarder is not None]

    @property
    def publishers(self) -> "list[Publisher]":
        """What publishes to any other."""
        return [way.publisher for way in self._ways.values() if way.publisher is not None]

    @property
    def lanes(self) -> "list[LogStream]":
        """All streams."""
        return [lane for way in self._ways.values() for lane in way.streams.values()]

    def figures(self) -> dict[str, Any]:
        """For monitoring. ``stuck``: why messages wait and nothing moves, by account, where that is so."""
        stuck = {name: way.stuck for name, way in self._ways.items() if way.stuck}
        return {
            "stuck": stuck,
            "put_off": sorted(self._late),
            "waiting": sum(lane.waiting for lane in self.lanes),
        }

    def begin(self, new: "Options") -> None:
        """These blocks, at the start. Raises ConfigError, but not for want of space."""
        for block in new.forward:
            try:
                self._prepare(block, None, new, [])
            except NoRoom as problem:
                log.error("%s; it is done when there is room, until then all else goes on", problem)
                self._late[block.name] = block
        self.use(new)
        self._try_later()

    def _try_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._server.call_later(LATE_S, self._catch_up) if self._late else None

    def _catch_up(self) -> None:
        """What was put off, if it can be done now."""
        self._timer = None
        options = self._server.options
        for name, block in list(self._late.items()):
            try:
                self._prepare(block, None, options, [])
            except NoRoom:
                continue
            except ConfigError as problem:  # somebody has changed streams meanwhile
                log.error("%s", problem)
            else:
                log.info('forward "%s": there is room now', name)
                self._follow(block, block.account or GLOBAL_ACCOUNT)
            del self._late[name]
        for way in self._ways.values():
            way.renew()
        self._try_later()

    def prepare(self, new: "Options") -> Callable[[], None]:
        """Whether these blocks can be used instead, and the streams that they need and that are not there. Raises
        ConfigError; gives what takes it back."""
        made: list[Stream] = []

        def undo() -> None:
            for stream in made:
                stream.delete()

        try:
            for block in new.forward:
                if block != self._blocks.get(block.name):
                    self._prepare(block, self._before(block), new, made)
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

    def _before(self, block: "Forward") -> "Forward | None":
        """What the block's stream is made as; None: not as a block of that name has said."""
        return self._blocks.get(block.name) if block.name not in self._late else None

    def use(self, new: "Options") -> None:
        """These blocks from now on; they are prepared, or put off."""
        blocks: dict[str, list[Forward]] = {account: [] for account in self._ways}
        for block in new.forward:
            account = block.account or GLOBAL_ACCOUNT
            blocks.setdefault(account, []).append(block)
            if block != self._blocks.get(block.name) and block != self._late.get(block.name):
                self._follow(block, account)
        self._late = {block.name: block for block in new.forward if block == self._late.get(block.name)}
        self._set_window([block.sync_ns for block in new.forward if block.sync_ns])
        for account, mine in blocks.items():
            self._ways.setdefault(account, Way(self._server, account, self._on_renewed)).use(mine)
            if not mine:
                del self._ways[account]
        self._blocks = {block.name: block for block in new.forward}

    def _follow(self, block: "Forward", account: str) -> None:
        js = self._server.jetstream
        assert js is not None
        stream = js.accounts[account].streams[stream_of(block)]
        if (config := following(block, self._before(block), stream)) is not None:
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
        if self._timer is not None:
            self._timer.cancel()
        for way in self._ways.values():
            way.stop()
        self._ways = {}
