"""What this device tells its hub of itself, and when: STATUS, for the ledger (docs/fleet.md).

It must not cost what it tells about. Streams are told within seconds of a change that matters, and each minute while
something moves; link and health when they change, and every ten minutes. What the hub can work out from the messages it
gets is no change. On a metered link all of it goes once an hour, and after a change that matters every 15 minutes.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import phloem
from phloem.shared.forward.entries import Allowance
from phloem.shared.forward.figures import DeviceStatus, Figures, StreamStatus
from phloem.shared.leaf.hours import wait_s
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.monitor.process import LinuxProcess
from phloem.shared.store.log import Damaged

if TYPE_CHECKING:
    from phloem.edge.forward.log_stream import LogStream
    from phloem.shared.forward.sender import Sender
    from phloem.shared.server.server import Server

SOON_NS = 5 * SECOND_NS  # between two, whatever changes
MOVING_NS = 60 * SECOND_NS  # while there is traffic
IDLE_NS = 600 * SECOND_NS
METERED_NS = 900 * SECOND_NS
METERED_IDLE_NS = 3600 * SECOND_NS
YOUNG_S = 15  # what has waited no longer is on its way, and no backlog
DAY_S = 86_400

Space = Callable[[str], tuple[int, int]]
"""Free and total bytes of the file system of a folder."""


class Reporter:
    """Of one forwarder."""

    def __init__(
        self,
        server: "Server",
        streams: "Mapping[str, LogStream]",
        allowance: Allowance,
        *,
        space: Space,
    ) -> None:
        self._server = server
        self._streams = streams
        self._allowance = allowance
        self._space = space
        self._process = LinuxProcess()
        self._fresh = True  # nothing was told in this session
        self._looked_ns = self._told_ns = self._full_ns = 0
        self._told: object = None
        self._sent = self._sent_before = 0  # parcels
        self.next_ns = 0

    def use(self, streams: "Mapping[str, LogStream]") -> None:
        """Tell of these from now on, and soon."""
        self._streams, self._fresh = streams, True

    def due(self, sender: "Sender", now_ns: int, second_of_day: int | None) -> DeviceStatus | None:
        """What is to be told now; None: nothing. ``next_ns`` says when to ask again at the latest."""
        self._sent = sender.sent_parcels
        if not sender.is_open:
            self._fresh, self.next_ns = True, 0
            return None
        if now_ns < self._looked_ns + SOON_NS and self._looked_ns and not self._fresh:
            self.next_ns = self._told_ns + self._pause_ns()
            return None
        self._looked_ns = now_ns
        status = self._status(now_ns, second_of_day)
        told = self._what_matters(status)
        waited = now_ns - self._told_ns
        if self._metered:
            news = waited >= METERED_NS and told != self._told
            send = not self._told_ns or news or waited >= self._pause_ns()
        else:
            send = self._fresh or told != self._told or waited >= self._pause_ns()
        if send:
            whole = self._fresh or told != self._told or self._metered or now_ns >= self._full_ns + IDLE_NS
            self._fresh, self._told, self._told_ns = False, told, now_ns
            self._sent_before = self._sent
            if whole:
                self._full_ns = now_ns
            else:
                status.link, status.health = {}, {}
        self.next_ns = self._told_ns + self._pause_ns()
        return status if send else None

    @property
    def _metered(self) -> bool:
        return self._server.options.phloem.link.metered

    def _pause_ns(self) -> int:
        if self._metered:
            return METERED_IDLE_NS
        return MOVING_NS if self._sent != self._sent_before else IDLE_NS

    def _what_matters(self, status: DeviceStatus) -> object:
        """What is worth a message if it changes: orders of magnitude, and whether something is wrong."""
        streams = {
            name: (one.backlog.bit_length() if one.age_s >= self._young_s(name) else 0, one.waits)
            for name, one in status.streams.items()
        }
        free = status.health.get("disk_free_bytes", 0)
        health = (status.health["disk_full"], status.health["clock_synced"], int(free).bit_length())
        link = (status.link.get("to"), status.link.get("used_up"))
        return streams, link, health

    def _young_s(self, name: str) -> int:
        """What waits for company does so on purpose."""
        return YOUNG_S + self._streams[name].entry.linger_ns // SECOND_NS

    # --- figures -----------------------------------------------------------------------------------------

    def _status(self, now_ns: int, second_of_day: int | None) -> DeviceStatus:
        streams = {
            name: self._stream(stream, now_ns, second_of_day) for name, stream in self._streams.items()
        }
        return DeviceStatus(streams, self._link(now_ns), self._health(now_ns))

    def _stream(self, stream: "LogStream", now_ns: int, second_of_day: int | None) -> StreamStatus:
        entry, last = stream.entry, stream.last_seq
        first = max(stream.confirmed + 1, stream.first_seq)
        status = StreamStatus(max(last + 1 - first, 0), 0, 0, last, entry.cls.name.lower(), "")
        if not status.backlog:
            return status
        status.bytes = stream.bytes_from(first)
        try:
            oldest = stream.stream.log.next((), first, last)
        except Damaged:
            oldest = None
        if oldest is not None:
            status.age_s = max(self._server.clock.wall_ns() - oldest.ts, 0) // SECOND_NS
        if second_of_day is not None and wait_s(entry.hours, second_of_day):
            status.waits = "it is not sent at this hour"
        elif self._allowance.wait_ns(entry.cls, now_ns) > 0:
            status.waits = "the link's allowance is used up"
        return status

    def _link(self, now_ns: int) -> Figures:
        meter = self._server.leafs.meter
        account = meter.shown()
        found: Figures = {"metered": self._metered}
        for uplink in self._server.uplinks:
            if uplink.up:
                found |= {"to": uplink.name, "rtt_ms": round(uplink.rtt_ns / 1e6, 1), "ups": uplink.ups}
                found["up_s"] = (now_ns - uplink.since_ns) // SECOND_NS
                break
        if meter.bounded:
            found["today_bytes"] = sum(account.today.values())
            found["month_bytes"] = sum(account.this_month.values())
            found |= {"per_day_bytes": account.per_day, "per_month_bytes": account.per_month}
            found["used_up"] = account.used_up
        return found | {f"{cls}_bytes": size for cls, size in account.total.items()}

    def _health(self, now_ns: int) -> Figures:
        server, js = self._server, self._server.jetstream
        assert js is not None
        up_s = max((now_ns - server.start_ns) // SECOND_NS, 1)
        stats = js.store.stats
        written = stats["journal_bytes"] + stats["lmdb_bytes"]
        errors = [stream.epochs[-1].error_ns for stream in self._streams.values() if stream.epochs]
        found: Figures = {
            "version": phloem.__version__,
            "uptime_s": up_s,
            "memory_bytes": self._process.memory_bytes(),
            "store_bytes": sum(account.used("file") for account in js.accounts.values()),
            "disk_full": js.out_of_space,
            "written_bytes": written,
            "written_day_bytes": written * DAY_S // up_s,
            "clock_synced": bool(errors) and min(errors) >= 0,
        }
        if found["clock_synced"]:
            found["clock_error_ms"] = max(errors) // 1_000_000
        with contextlib.suppress(OSError):  # the file system does not say
            found["disk_free_bytes"], found["disk_total_bytes"] = self._space(str(js.folder))
        return found | self._device()

    def _device(self) -> Figures:
        """The disk's budget, the card and the clock, as far as there is something to say."""
        shown = self._server.device_figures()
        disk, wear, clock = (shown.get(name, {}) for name in ("disk", "wear", "clock"))
        found: Figures = {f"shed_{name}": count for name, count in disk.get("shed", {}).items() if count}
        if disk.get("shedding"):
            found["disk_shedding"] = True
        if wear.get("endurance"):
            found["card_life_days"] = wear["life_days"]
        if clock.get("steps"):
            found["clock_steps"] = clock["steps"]
        return found
