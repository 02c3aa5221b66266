"""The table, its Markdown twin and the file that is kept."""

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from tests.bench import report
from tests.bench.loads import Row
from tests.bench.ratios import Goal, Pairs, Unit
from tests.bench.rounds import Outcome

FAST = Outcome(
    Row("pubsub", "1:1, 16 B", "delivered_per_s", Unit.PER_SECOND, Goal(at_least=5.0)),
    Pairs([2e6, 4e6, 3e6], [12e6, 20e6, 21e6]),
)
SLOW = Outcome(
    Row("rtt-p50", "request-reply", "p50_us", Unit.MICROSECONDS, Goal(at_most=0.8)), Pairs([100.0], [90.0])
)
BROKEN = Outcome(
    Row("leaf", "over a leaf link", "delivered_per_s", Unit.PER_SECOND, Goal(at_least=4.0)),
    None,
    "no [interest]",
)
REPORT = report.Report(
    date="2026-01-02T03:04:05+00:00",
    cpu="A Processor",
    cores=2,
    kernel="6.1",
    baseline="nats-server",
    candidate="phloem",
    versions={"nats-server": "nats-server: v2.15.1", "phloem": "phloem 0.1.0"},
    rounds=3,
    run_seconds=1.2,
    rows=[report.line_of(outcome) for outcome in (FAST, SLOW, BROKEN)],
)


def test_rows_carry_medians_the_median_ratio_and_the_verdict() -> None:
    assert report.cells(REPORT.rows[0]) == ("1:1, 16 B", "3.00 M/s", "20.00 M/s", "6.00x", ">= 5.0x", "yes")
    assert report.cells(REPORT.rows[1]) == ("request-reply", "100.0 us", "90.0 us", "0.90x", "<= 0.8x", "no")
    assert report.cells(REPORT.rows[2]) == ("over a leaf link", "", "", "", ">= 4.0x", "failed")


def test_table_shows_every_row_without_wrapping() -> None:
    output = StringIO()
    Console(file=output, width=80).print(report.table(REPORT))
    lines = [line.split() for line in output.getvalue().splitlines()]
    assert ["load", "nats-server", "phloem", "ratio", "goal", "reached?"] in lines
    assert ["1:1,", "16", "B", "3.00", "M/s", "20.00", "M/s", "6.00x", ">=", "5.0x", "yes"] in lines
    assert ["over", "a", "leaf", "link", ">=", "4.0x", "failed"] in lines


def test_markdown_names_machine_versions_and_failures() -> None:
    text = report.markdown(REPORT)
    assert text.startswith(
        "2026-01-02T03:04:05+00:00, A Processor, 2 cores, Linux 6.1; nats-server: v2.15.1, phloem 0.1.0.\n"
    )
    assert "| load | nats-server | phloem | ratio | goal | reached? |\n| --- | ---: |" in text
    assert "| 1:1, 16 B | 3.00 M/s | 20.00 M/s | 6.00x | >= 5.0x | yes |" in text
    assert text.endswith("\nover a leaf link failed: no [interest]\n")


def test_rows_that_fail_together_share_a_line_and_keep_what_the_baseline_did() -> None:
    half = Outcome(SLOW.row, None, "no [interest]", (100.0, 300.0, 200.0))
    both = msgspec.structs.replace(REPORT, rows=[report.line_of(half), REPORT.rows[2]])
    assert report.cells(both.rows[0]) == ("request-reply", "200.0 us", "", "", "<= 0.8x", "failed")
    assert report.markdown(both).endswith("\nrequest-reply; over a leaf link failed: no [interest]\n")


def test_markdown_names_the_rows_that_took_one_turn() -> None:
    assert 'Measured once: "request-reply".' in report.markdown(REPORT)
    single = msgspec.structs.replace(REPORT, rounds=1)
    assert "Measured once" not in report.markdown(single)


def test_rows_that_were_measured_again_say_so() -> None:
    later = Outcome(SLOW.row, Pairs([100.0, 100.0], [50.0, 60.0]))
    new = msgspec.structs.replace(
        REPORT, date="2026-01-03T00:00:00+00:00", rounds=2, rows=[report.line_of(later)]
    )
    both = report.with_again(REPORT, new)
    assert [line.name for line in both.rows] == [line.name for line in REPORT.rows]
    assert (both.rows[0], both.rows[2]) == (REPORT.rows[0], REPORT.rows[2])
    assert both.rows[1].ratio == 0.55
    assert 'Measured again (2026-01-03T00:00:00+00:00, rounds: 2): "request-reply".' in report.markdown(both)


def test_a_server_beside_itself_has_columns_that_can_be_told_apart() -> None:
    itself = msgspec.structs.replace(REPORT, candidate="nats-server")
    assert report.heads(itself)[1:3] == ("nats-server", "again")


def test_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    report.write(REPORT, path)
    assert report.read(path) == REPORT
    assert path.with_suffix(".md").read_text() == report.markdown(REPORT)
    assert report.read(path).failed == [REPORT.rows[2]]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(msgspec.ValidationError):
        report.read(path)


def test_date_is_utc() -> None:
    assert report.date_text(1_000_000_000_999_999_999) == "2001-09-09T01:46:40+00:00"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel name\t: A Processor\n", "A Processor"),
        ("processor\t: 0\nModel\t\t: A Board Rev 1.5\n", "A Board Rev 1.5"),
        ("", "unknown"),
    ],
)
def test_cpu_model(text: str, model: str) -> None:
    assert report.cpu_model(text) == model
