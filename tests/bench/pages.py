"""``python -m tests.bench.pages``: the kept results in the pages that speak of them.

Between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` of a page stands what the results give, never a figure by
hand; a test compares. `make bench`, `make bench-link` and `make bench-serial` write the pages after a whole run.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench import report
from tests.bench_link import report as link_report

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PAGES = (ROOT / "README.md", ROOT / "docs/benchmarks.md", ROOT / "docs/serial.md")

# What a reader of the README asks first: rows of `make bench` and of `make bench-link`, in words that stand alone.
MESSAGES = {
    "pub": "publish, 16 B",
    "pubsub": "one to one, 16 B",
    "fan-out": "one to eight, 16 B",
    "tls-pubsub": "one to one over TLS, 16 B",
    "leaf": "one to one over a leaf link, 16 B",
    "rtt-p50": "request and reply, median",
    "js-pub": "publish to a stream, 1,000 in flight",
    "js-pub-always": "the same, nats-server with `sync_interval: always`",
    "js-pub-1-p50": "one at a time, both synced, median",
    "js-pull": "pull consumer, batches of 500, acknowledged",
    "js-kv-get": "key-value get, 32 in flight",
    "js-written-1": "written to the disk for one message a second",
    "js-open-killed": "start with 10 million messages after kill -9",
    "js-resident": "memory with 10 million messages, 1 million subjects",
}
LINKS = {
    "drain-bytes": "bytes on the link for a 100-byte reading, backlog",
    "trickle-bytes": "the same, one reading a second",
    "idle": "an idle link with 5 streams, a day",
    "slow": "100,000 readings over 1 Mbit/s, 300 ms, 1 % loss",
    "alarm": "an alarm behind a million readings on that link, p99",
    "dead": "a dead link is noticed after",
    "fleet-memory": "a hub with 1,000 devices, memory",
}


def _rows(*rows: tuple[str, ...]) -> str:
    heads = ("load", "nats-server", "phloem", "ratio")
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ("---", "---:", "---:", "---:"), *rows))


def headlines(results: Path = RESULTS) -> str:
    """The README's table: a choice of both benchmarks' rows, as far as they are kept."""
    messages = {line.name: line for line in report.read(results / "latest.json").rows}
    rows = [(title, *report.cells(messages[name])[1:4]) for name, title in MESSAGES.items()]
    path = results / "link.json"
    if path.exists():
        links = {line.name: line for line in link_report.read(path).rows}
        for name, title in LINKS.items():
            _, theirs, ours, ratio, *_ = link_report.cells(links[name])
            rows.append((title, theirs, ours, ratio and f"{ratio}x"))
    return _rows(*rows)


def _kept(name: str) -> Callable[[Path], str]:
    def part(results: Path) -> str:
        path = results / f"{name}.md"
        return path.read_text().rstrip("\n") if path.exists() else "Not measured yet."

    return part


PARTS: Mapping[str, Callable[[Path], str]] = {
    "headlines": headlines,
    "messages": _kept("latest"),
    "links": _kept("link"),
    "serial": _kept("serial"),
}


def filled(page: str, results: Path = RESULTS) -> str:
    """The text of a page with its parts as the results give them.

    Raises:
        ValueError: A part begins and does not end.
    """
    for name, part in PARTS.items():
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        if begin not in page:
            continue
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{begin.strip()} without {end}")
        page = f"{before}{begin}{part(results)}\n{end}{after}"
    return page


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
