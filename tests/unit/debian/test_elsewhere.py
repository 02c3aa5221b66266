"""What ``make elsewhere`` makes of what pytest prints, and how a program gets into another machine."""

from pathlib import Path

import pytest
from tests.elsewhere.__main__ import Report, outcome
from tests.elsewhere.machine import Machine


def test_counts_and_cases_that_did_not_pass() -> None:
    said = (
        "..F.s\n"
        "FAILED tests/unit/a.py::test_one[3 passed] - AssertionError: 1 failed in 2 s\n"
        "ERROR tests/unit/b.py - ImportError\n"
        "1 failed, 12 passed, 3 skipped, 1 error in 66.35s (0:01:06)\n"
    )
    assert outcome(said) == (
        "1 failed, 12 passed, 3 skipped, 1 error",
        ["ERROR tests/unit/b.py", "FAILED tests/unit/a.py::test_one[3 passed]"],
    )


def test_a_run_that_was_cut_off_has_the_counts_of_what_it_came_to() -> None:
    said = (
        "collected 9 items\n\n"
        "tests/unit/a.py::test_one[a b-3 PASSED] PASSED\n"
        "tests/unit/a.py::test_two FAILED\n"
        "tests/unit/a.py::test_three SKIPPED (a reason)\n"
        "tests/unit/a.py::test_four Fatal Python error: Segmentation fault\n"
    )
    bad = [
        "FAILED tests/unit/a.py::test_two",
        "in tests/unit/a.py::test_four Fatal Python error: Segmentation fault",
    ]
    assert outcome(said) == ("1 failed, 1 passed, 1 skipped; did not end", bad)
    assert outcome("Fatal Python error\n") == ("no case; did not end", [])


def test_a_run_with_workers_that_was_cut_off() -> None:
    said = (
        "tests/unit/a.py::test_one \n"
        "[gw0] [  1%] PASSED tests/unit/a.py::test_one \n"
        "tests/unit/a.py::test_two \n"
        "[gw0] [  2%] ERROR tests/unit/a.py::test_two \n"
        "tests/unit/a.py::test_three \n"
    )
    bad = ["ERROR tests/unit/a.py::test_two", "in tests/unit/a.py::test_three"]
    assert outcome(said) == ("1 errors, 1 passed; did not end", bad)


def test_what_was_reported_is_there_however_a_run_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(tmp_path / "results/armhf.txt")
    report("one")
    assert (tmp_path / "results/armhf.txt").read_text() == "one\n" == capsys.readouterr().out
    Report(tmp_path / "results/armhf.txt", append=True)("two")
    assert (tmp_path / "results/armhf.txt").read_text() == "one\ntwo\n"


def test_a_program_has_no_network_and_an_environment_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").touch()
    words = Machine("armhf", tmp_path).command("phloem", "--version", PYTHONPATH="/x")
    assert words[:2] == ["env", "-i"]
    assert {"--net", "--mount", "--pid", "--kill-child"} <= set(words)
    assert words[-2:] == ["phloem", "--version"]
    assert "PYTHONPATH=/x" in words
    assert "HOME=/root" in words
