"""What the links that this server dialled have cost, and whether they may cost more.

One account for all of them: they share a modem. Whoever sends over a link in classes says so with ``charge``, in bytes
of messages as monitoring counts them, and asks ``may_send`` before. What really went over the network, with the headers
of TCP and IP, comes from the system now and then (``settle``), and is laid on the classes in proportion; what nobody
has charged is ``core``, and what went when there were no messages at all is ``control``.

The account is kept in JetStream's store. It is written once a minute at most, less often where little goes over the
link, and at the end: a power cut forgets what was not written yet.
"""

import calendar
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from phloem.shared import limits
from phloem.shared.dates import utc
from phloem.shared.leaf.allowance import Account, Allowance, Answer, Plan, When, shares
from phloem.shared.leaf.hours import windows
from phloem.shared.server.monitor.records import MeterFigures
from phloem.shared.server.options_link import LinkOptions

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.leaf")

KEY = b"\x03link-meter"  # in the store
CONTROL, CORE = "control", "core"
NO_DATE_BEFORE_NS = limits.CLOCK_EARLIEST_NS  # a device that says less has no clock


def plan_of(options: LinkOptions) -> Plan:
    """What the options allow.

    Raises:
        ConfigError: A window or a share that is none.
    """
    return Plan(
        per_day=options.per_day,
        per_month=options.per_month,
        emergency_percent=options.emergency_percent,
        emergency=frozenset(options.emergency),
        shares=shares(options.shares),
        hours=windows(options.hours),
    )


class LinkMeter:
    """The account of a server's links to hubs."""

    def __init__(self, server: "Server") -> None:
        """Raises ConfigError."""
        self._server = server
        self._options = server.options.phloem.link
        self._allowance = Allowance(plan_of(self._options))
        self._window: dict[str, int] = {}  # charged since the last ``settle``
        self._unsaved = 0
        self._saved_ns = server.clock.monotonic_ns()
        self._told = ""
        self._told_day = 0
        self._distrusted = False
        self.survives = False  # whether the account outlives the process
        self.wall_ns: Callable[[], int] = server.clock.wall_ns  # or what somebody knows better
        self.clock_trusted: Callable[[], bool] = lambda: self.wall_ns() >= NO_DATE_BEFORE_NS

    @property
    def bounded(self) -> bool:
        """Whether the link is metered, or anything is limited."""
        o = self._options
        return bool(o.metered or o.per_day or o.per_month or o.hours)

    def use(self, options: LinkOptions) -> None:
        """Other options; what was counted stays. Raises ConfigError."""
        plan, was_bounded = plan_of(options), self.bounded
        self._options, self._allowance.plan = options, plan
        if self.bounded and not was_bounded:  # what has gone until now is not in the account of the store
            before, self._allowance.account = self._allowance.account.total, Account()
            self.open()
            for what, size in before.items():
                self._charge(what, size)

    def open(self) -> None:
        """Take up the account of the last run. Until then, and without JetStream, it is in memory."""
        store = None if self._server.jetstream is None else self._server.jetstream.store
        if not self.bounded:
            return
        if store is None:
            log.warning("The link's counters are lost with a restart: there is no jetstream to keep them in")
            return
        self.survives = True
        kept = store.get(KEY)
        if kept is None:
            return
        try:
            self._allowance.account = msgspec.json.decode(kept, type=Account)
        except msgspec.DecodeError as error:
            log.error("The link's counters cannot be read and begin at 0: %s", error)

    def charge(self, what: str, size: int) -> None:
        """A class has sent or received ``size`` bytes of messages: header and payload."""
        if size > 0:
            self._window[what] = self._window.get(what, 0) + size
            self._charge(what, size)

    def may_send(self, what: str, size: int = 0) -> Answer:
        """Whether a class may send ``size`` more bytes now."""
        return self._allowance.may_send(what, self.when(), size)

    def room(self, what: str, most: int) -> int:
        """How many bytes of a class may go now, at most so many."""
        return self._allowance.room(what, self.when(), most)

    def settle(self, wire: int, payload: int) -> None:
        """So many bytes have gone over the network since the last time, with ``payload`` bytes of messages in them."""
        window, self._window = self._window, {}
        weights = dict(window)
        weights[CORE] = weights.get(CORE, 0) + max(payload - sum(window.values()), 0)
        whole = sum(weights.values())
        if whole == 0:
            if wire:
                self._charge(CONTROL, wire)
            return
        for what, weight in weights.items():
            self._charge(what, wire * weight // whole - window.get(what, 0))

    def overhead(self, wire: int) -> None:
        """Bytes that no connection counts: attempts to dial."""
        self._charge(CONTROL, wire)

    def when(self) -> When:
        """The time as the account sees it."""
        wall_s = self.wall_ns() // limits.SECOND_NS
        now = utc(max(wall_s, 0))
        if not self._options.hours_utc:
            now = now.astimezone()
        trusted = self.clock_trusted()
        if trusted == self._distrusted and self.bounded:
            self._distrusted = not trusted
            if trusted:
                log.info("The date can be trusted: allowances and hours of the link count again")
            else:
                log.warning("The date cannot be trusted: no day ends, and hours of the link do not count")
        return When(
            day=(now.year * 100 + now.month) * 100 + now.day,
            second=(now.hour * 60 + now.minute) * 60 + now.second,
            days_left=calendar.monthrange(now.year, now.month)[1] - now.day + 1,
            trusted=trusted,
        )

    def look(self, *, closing: bool = False) -> None:
        """Tell what is new, and keep the account if it is time."""
        self._tell()
        now_ns = self._server.clock.monotonic_ns()
        since_ns = now_ns - self._saved_ns
        due = since_ns >= (
            limits.LINK_SAVE_NS if self._unsaved >= limits.LINK_SAVE_BYTES else limits.LINK_SAVE_IDLE_NS
        )
        js = self._server.jetstream
        if not self.survives or not self._unsaved or js is None or not (due or closing):
            return
        js.store.put(KEY, msgspec.json.encode(self._allowance.account))
        self._unsaved, self._saved_ns = 0, now_ns

    def shown(self) -> MeterFigures:
        """For monitoring."""
        self._allowance.turn(self.when())
        a, p = self._allowance.account, self._allowance.plan
        return MeterFigures(
            metered=self._options.metered,
            survives_restart=self.survives,
            clock_trusted=self.clock_trusted(),
            per_day=p.per_day,
            per_month=p.per_month,
            today=dict(a.today),
            this_month=dict(a.this_month),
            total=dict(a.total),
            used_up=self._allowance.used_up(),
        )

    def _charge(self, what: str, size: int) -> None:
        self._allowance.charge(what, size, self.when())
        self._unsaved += abs(size)

    def _tell(self) -> None:
        when = self.when()
        self._allowance.turn(when)
        word = self._allowance.used_up()
        if word and (word != self._told or when.day != self._told_day):
            log.warning(
                "The link's allowance of this %s is used up; forwarding waits, messages and control traffic do not",
                word,
            )
            self._server.events.link_changed({"what": "allowance_used_up", "of": word, "link": self.shown()})
        elif self._told and not word:
            log.info("The link has an allowance again")
            self._server.events.link_changed({"what": "allowance_renewed", "link": self.shown()})
        self._told, self._told_day = word, when.day
