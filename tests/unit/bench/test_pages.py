"""What pages say of speed is what was measured and kept."""

from pathlib import Path

import pytest
from tests.bench import pages, report
from tests.bench_link.rows import ROWS as LINK_ROWS


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_pages_say_what_is_kept(page: Path) -> None:
    text = page.read_text()
    assert any(f"<!-- {name}:begin -->" in text for name in pages.PARTS)
    assert pages.filled(text) == text, "run python -m tests.bench.pages"


def test_a_choice_names_rows_that_there_are() -> None:
    kept = {line.name for line in report.read(pages.RESULTS / "latest.json").rows}
    assert pages.MESSAGES.keys() <= kept
    assert pages.LINKS.keys() <= {figure.name for row in LINK_ROWS for figure in row.figures}


def test_a_part_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="without <!-- serial:end -->"):
        pages.filled("text\n<!-- serial:begin -->\nmore\n")
