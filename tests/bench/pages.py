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

# What a reader of the README asks first. Names of rows, of `make bench` and of `make bench-link`.
MESSAGES = (
    "pub",
    "pubsub",
    "fan-out",
    "leaf",
    "rtt-p50",
    "js-pub",
    "js-pub-always",
    "js-pub-1-p50",
    "js-pull",
    "js-kv-get",
    "js-written-1",
    "js-open-killed",
    "js-resident",
)
LINKS = ("drain-bytes", "trickle-bytes", "idle", "slow", "alarm", "dead", "fleet-memory")


def _rows(*rows: tuple[str, ...]) -> str:
    heads = ("load", "nats-server", "phloem", "ratio")
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ("---", "---:", "---:", "---:"), *rows))


def headlines(results: Path = RESULTS) -> str:
    """The README's table: a choice of both benchmarks' rows, as far as they are kept."""
    messages = {line.name: line for line in report.read(results / "latest.json").rows}
    rows = [report.cells(messages[name])[:4] for name in MESSAGES if name in messages]
    path = results / "link.json"
    if path.exists():
        links = {line.name: line for line in link_report.read(path).rows}
        for name in LINKS:
            title, theirs, ours, ratio, *_ = link_report.cells(links[name])
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
