"""The table of ``make bench-link``: medians of ratios, goals of both kinds, runs that did not end."""

from math import nan
from pathlib import Path

import pytest
from tests.bench_link.report import Report, cells, line_of, markdown, read, shown, write
from tests.bench_link.rows import ROWS, Figure

RATIO = Figure("drain", "drain", "s", ratio=0.5)
BOUND = Figure("memory", "memory", "B", bound=45 << 20)


def test_ratio_is_the_median_of_the_rounds() -> None:
    line = line_of(RATIO, [10.0, 2.0, 4.0], [4.0, 1.0, 3.0])
    assert (line.ratio, line.reached) == (0.5, True)
    assert cells(line) == ("drain", "4.00 s", "3.00 s", "0.500", "0.50 x", "yes")


def test_bound_counts_alone() -> None:
    line = line_of(BOUND, [], [48e6, 47e6, 47e6])
    assert (line.ratio, line.reached) == (None, True)
    assert cells(line) == ("memory", "-", "47.0 MB", "", "47.2 MB", "yes")


@pytest.mark.parametrize("ours", [[nan], [nan, 1.0, nan]])
def test_a_run_that_did_not_end_is_not_reached(ours: list[float]) -> None:
    line = line_of(BOUND, [1.0] * len(ours), ours)
    assert line.reached is False
    assert cells(line)[2] == "-"
    assert None in line.ours


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(5.6e-3, "s", "5.60 ms"), (2.0, "s", "2.00 s"), (999.0, "B", "999.0 B"), (20_869.0, "B", "20.9 KB")],
)
def test_units(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_result_is_kept(tmp_path: Path) -> None:
    report = Report("2026-01-01", "cpu", 2, "6.1", 1, False, [line_of(RATIO, [2.0], [1.0])])
    write(report, tmp_path / "x" / "link.json")
    assert read(tmp_path / "x" / "link.json") == report
    assert (tmp_path / "x" / "link.md").read_text() == markdown(report)


def test_figures_have_names_of_their_own() -> None:
    names = [figure.name for row in ROWS for figure in row.figures]
    assert len(set(names)) == len(names)
