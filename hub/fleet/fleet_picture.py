"""What ``phloem fleet`` shows: a table of all devices, trouble first, and one device in full."""

from collections.abc import Mapping, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from phloem.shared.forward import ledger
from phloem.shared.forward.figures import Figure
from phloem.shared.forward.ledger import Document, StreamEntry
from phloem.shared.jetstream.times import parse_rfc3339
from phloem.shared.limits import SECOND_NS

BARS = "▁▂▃▄▅▆▇█"
SPARKS = 12  # minutes in the table of all devices
AROUND = 6  # lines of the overview that are no devices
STATES = {
    ledger.FLOWING: "green",
    ledger.WAITING: "yellow",
    ledger.PAUSED: "red",
    ledger.REFUSED: "red",
}
MINUTE_NS = 60 * SECOND_NS


class Overview:
    """All devices, as many as there is room for."""

    def __init__(self, documents: Sequence[Document], problem: str, now_ns: int) -> None:
        self._documents = sorted(documents, key=lambda document: rank(document, now_ns))
        self._problem = problem
        self._now_ns = now_ns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The summary, the table, and how many are not in it."""
        room = max(console.size.height - AROUND, 1) if console.is_terminal else len(self._documents)
        yield summary(self._documents)
        if self._problem:
            yield Text(self._problem, "bold red")
        if self._documents:
            yield table(self._documents[:room], self._now_ns)
        if len(self._documents) > room:
            yield Text(f"and {len(self._documents) - room:,} more, in better health", "dim")


def rank(document: Document, now_ns: int) -> tuple[int, int, str]:
    """Who needs somebody comes first, then who is away, then who is behind."""
    if document.trouble:
        return 0, -len(document.trouble), document.device
    if document.state == ledger.OFFLINE:
        return 1, -age_ns(document.since, now_ns) // MINUTE_NS, document.device
    if document.totals.backlog:
        return 2, -document.totals.backlog, document.device
    return 3, 0, document.device


def summary(documents: Sequence[Document]) -> Text:
    """One line about all of them."""
    if not documents:
        return Text("no device has forwarded anything to this account yet", "dim")
    online = sum(document.state == ledger.ONLINE for document in documents)
    totals = [document.totals for document in documents]
    line = Text.assemble(
        (f"{len(documents):,} device{'s' if len(documents) != 1 else ''}", "bold"),
        f"  {online:,} online  ",
        (f"{len(documents) - online:,} offline", "red" if online < len(documents) else "dim"),
        f"  backlog {sum(one.backlog for one in totals):,} ({decimal(sum(one.backlog_bytes for one in totals))})",
        f"  {sum(one.rate for one in totals):,.1f}/s",
        f"  received {sum(one.received for one in totals):,}",
        f"  missing {sum(one.missing for one in totals):,}",
        f"  duplicates removed {sum(one.duplicates for one in totals):,}",
    )
    hubs = sorted({document.hub for document in documents if document.hub})
    line.append(f"  at {', '.join(hubs)}", "dim")
    return line


def table(documents: Sequence[Document], now_ns: int) -> Table:
    """A row for each."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("device", "state"):
        made.add_column(heading, no_wrap=True)
    for heading in ("backlog", "newest", "rate"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column(f"last {SPARKS}m", no_wrap=True)
    for heading in ("missing", "dup", "eta", "rtt"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("trouble")  # the one that gives way
    for one in documents:
        totals = one.totals
        made.add_row(
            Text(one.device, "bold"),
            state(one, now_ns),
            Text(f"{totals.backlog:,}" if totals.backlog else "-", "yellow" if totals.backlog else "dim"),
            newest(one.streams, now_ns),
            Text(f"{totals.rate:,.1f}" if totals.rate else "-"),
            Text(spark(minutes(one, now_ns)[-SPARKS:]), "cyan"),
            Text(f"{totals.missing:,}" if totals.missing else "-", "red" if totals.missing else "dim"),
            Text(f"{totals.duplicates:,}" if totals.duplicates else "-", "dim"),
            Text(eta(totals.eta_s) if totals.backlog else "-"),
            Text(rtt(one)),
            Text(_trouble(one), "red", no_wrap=True, overflow="ellipsis"),
        )
    return made


def state(document: Document, now_ns: int) -> Text:
    """Online or offline, and for how long."""
    online = document.state == ledger.ONLINE
    for_ = span(age_ns(document.since, now_ns) // SECOND_NS)
    return Text.assemble((document.state, "green" if online else "red"), (f" {for_}", "dim"))


def newest(streams: Mapping[str, StreamEntry], now_ns: int) -> Text:
    """How old the newest message is that the hub has."""
    times = [one.newest for one in streams.values() if one.newest]
    return Text(span(min(age_ns(when, now_ns) for when in times) // SECOND_NS) if times else "-")


def rtt(document: Document) -> str:
    """Of the link, while it is there."""
    value = document.link.get("rtt_ms")
    if document.state == ledger.OFFLINE or not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}ms" if value >= 10 else f"{value:.1f}ms"


def _trouble(document: Document) -> str:
    more = len(document.trouble) - 1
    return (document.trouble[0] + (f" (and {more} more)" if more > 0 else "")) if document.trouble else ""


# --- one device ----------------------------------------------------------------------------------------


def device(name: str, document: Document | None, problem: str, now_ns: int) -> RenderableType:
    """One device in full."""
    wrong = [Text(problem, "bold red")] if problem else []
    if document is None:
        return Group(*wrong, Text(f"{name}: nothing is known of it yet", "dim"))
    parts: list[RenderableType] = [_head(document, now_ns), *wrong]
    parts += [Text(f"! {text}", "red") for text in document.trouble]
    parts += [Text(), _streams(document, now_ns)]
    gaps = _gaps(document)
    if gaps is not None:
        parts += [Text(), gaps]
    parts += [Text(), Text.assemble(("last hour ", "bold"), (spark(minutes(document, now_ns)), "cyan"))]
    for title, figures in (("link", document.link), ("health", document.health)):
        if figures:
            words = "  ".join(f"{key} {figure(key, value)}" for key, value in figures.items())
            parts.append(Text.assemble((f"{title:10}", "bold"), words))
    if document.events:
        parts.append(Text())
        parts += [Text.assemble((when[:19] + "Z ", "dim"), text) for when, text in document.events]
    return Group(*parts)


def _head(document: Document, now_ns: int) -> Text:
    totals = document.totals
    return Text.assemble(
        (document.device, "bold"),
        "  ",
        state(document, now_ns),
        f"  at {document.hub}",
        f"  received {totals.received:,}",
        f"  backlog {totals.backlog:,}",
        f"  {totals.rate:,.1f}/s",
        f"  eta {eta(totals.eta_s)}" if totals.backlog else "",
        (f"  known since {document.first_seen[:10]}", "dim"),
    )


def _streams(document: Document, now_ns: int) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("stream", "to", "class", "state"):
        made.add_column(heading)
    for heading in ("up to", "received", "backlog", "waits for", "newest", "rate", "missing", "dup", "eta"):
        made.add_column(heading, justify="right", no_wrap=True)
    for name, one in document.streams.items():
        word = f"{one.state}: {one.why}" if one.why else one.state
        waits = span(age_ns(one.oldest, now_ns) // SECOND_NS) if one.oldest else "-"
        made.add_row(
            Text(name, "bold"),
            Text(one.stream),
            Text(one.cls),
            Text(word, STATES.get(one.state, "")),
            f"{one.contiguous:,}",
            f"{one.received:,}",
            f"{one.backlog:,} ({decimal(one.backlog_bytes)})" if one.backlog else "-",
            waits,
            newest({name: one}, now_ns),
            f"{one.rate:,.1f}" if one.rate else "-",
            Text(f"{one.missing:,}" if one.missing else "-", "red" if one.missing else ""),
            f"{one.duplicates:,}" if one.duplicates else "-",
            eta(one.eta_s) if one.backlog else "-",
        )
        for former in one.former:
            made.add_row("", Text(f"before, store {former.store}", "dim"), "", "", "", f"{former.received:,}")
    return made


def _gaps(document: Document) -> Table | None:
    rows = [(name, gap) for name, one in document.streams.items() for gap in one.gaps]
    if not rows:
        return None
    made = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("missing in", "sequences", "messages", "told", "why"):
        made.add_column(heading, justify="right" if heading == "messages" else "left")
    for name, gap in rows:
        count = f"{gap.count:,}" if gap.count >= 0 else "unknown"
        sequences = f"{gap.first:,} to {gap.last:,}" if gap.first != gap.last else f"{gap.first:,}"
        made.add_row(Text(name), sequences, count, gap.at[:19] + "Z" if gap.at else "", Text(gap.reason))
    return made


def figure(name: str, value: Figure) -> str:
    """A figure of link or health as people read it; its name says what it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int):
        return decimal(value) if value >= 0 else str(value)
    if name.endswith("_s") and isinstance(value, int):
        return span(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- words ----------------------------------------------------------------------------------------------


def age_ns(when: str, now_ns: int) -> int:
    """How long ago; 0 for what is no time, or to come."""
    try:
        then_ns = parse_rfc3339(when) if when else now_ns
    except ValueError:
        return 0
    return max(now_ns - then_ns, 0)


def span(seconds: int) -> str:
    """Two units at most: 5s, 3m20s, 2h5m, 12d4h."""
    for size, unit, small, below in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            rest = seconds % size // small
            return f"{seconds // size:,}{unit}{rest}{below}" if rest else f"{seconds // size:,}{unit}"
    return f"{seconds}s"


def eta(seconds: int) -> str:
    """How long it takes."""
    return span(seconds) if seconds >= 0 else "?"


def minutes(document: Document, now_ns: int) -> list[int]:
    """Messages of each of the last minutes, up to the present one."""
    passed = min(max(now_ns // MINUTE_NS - document.minute, 0), ledger.HISTORY)
    history = [0] * ledger.HISTORY + document.history + [0] * passed
    return history[-ledger.HISTORY :]


def spark(values: Sequence[int]) -> str:
    """A bar for each; nothing for 0."""
    most = max(values, default=0)
    return "".join(BARS[(value * (len(BARS) - 1) + most - 1) // most] if value else " " for value in values)
