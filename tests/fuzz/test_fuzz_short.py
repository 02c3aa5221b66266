"""A short run of the fuzzer, and that it finds what is wrong."""

import io
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from tests.fuzz.frames import Nonsense, Received
from tests.fuzz.minimise import ddmin, minimise
from tests.fuzz.run import GROUPS, QUICK, run, supervise
from tests.fuzz.run import TARGETS as NAMES
from tests.fuzz.sanitized import NoSanitizer, build
from tests.fuzz.scenario import Scenario
from tests.fuzz.steps import Step, corpus, dump, load
from tests.fuzz.targets import TARGETS, covers

SECONDS = 10.0


@pytest.fixture(scope="module")
def sanitized() -> None:
    try:
        build(whole=False)
    except NoSanitizer as error:
        pytest.skip(str(error))


@pytest.mark.slow  # compiling under the sanitizers
@pytest.mark.timeout(180)
@pytest.mark.xdist_group("sanitized")
@pytest.mark.usefixtures("sanitized")
class TestSanitized:
    def test_short_run(self) -> None:
        """The kept inputs and some more of each target."""
        text = io.StringIO()
        status = run(
            QUICK, seed=1, first=0, seconds=SECONDS, console=Console(file=text, soft_wrap=True), whole=False
        )
        assert status == 0, text.getvalue()
        assert int(text.getvalue().split()[0]) >= sum(len(corpus(name)) for name in QUICK)

    def test_failing_child_is_noticed(self, tmp_path: Path) -> None:
        note = tmp_path / "note.txt"
        note.write_text(dump([Step("attach")]))
        assert supervise(["--target", "mix", "--note", str(note), "--replay"], lambda _: None).problem == ""
        note.write_text(dump([Step("nonsense")]))
        outcome = supervise(["--target", "mix", "--note", str(note), "--replay"], lambda _: None)
        assert "KeyError" in outcome.problem

    def test_leaks_are_noticed(self, tmp_path: Path) -> None:
        """``hoard`` keeps a little more each time."""
        note = tmp_path / "note.txt"
        note.write_text(dump([Step("hoard")]))
        outcome = supervise(["--target", "mix", "--note", str(note), "--replay"], lambda _: None)
        assert "leak" in outcome.problem


def test_every_target_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(NAMES) == sorted(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_number_makes_the_same_input(name: str) -> None:
    first, again = (TARGETS[name].make(Random(f"1:{name}:9")) for _ in range(2))
    assert first == again
    assert load(dump(first)) == first


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs(name: str) -> None:
    """They are carried out by the ordinary modules, too."""
    kept = corpus(name)
    assert kept
    for steps in kept:
        TARGETS[name].execute(steps)


def test_notes_read_back() -> None:
    steps = (Step("feed", 1, 2, b"a\r\n\0 \xff'\""), Step("tick"))
    assert load("# remark\n" + dump(steps)) == steps


def test_minimiser_leaves_only_what_is_needed() -> None:
    assert list(ddmin(range(100), lambda part: {3, 50, 99} <= set(part))) == [3, 50, 99]
    steps = tuple(Step("feed", n, 0, b"some bytes") for n in range(20))
    shorter = minimise(steps, lambda part: any(step.who == 7 and b"b" in step.data for step in part))
    assert shorter == (Step("feed", 7, 0, b"b"),)


@pytest.mark.parametrize(
    ("leaf", "data"),
    [
        (False, b"MSG a 1 2\r\nhix\r\n"),
        (False, b"MSG  1 2\r\nhi\r\n"),
        (False, b"HMSG a 1 3 2\r\nhi\r\n"),
        (False, b"LS+ a\r\n"),
        (False, b"MSG a 1 2\r\nh"),
        (False, b"PONG"),
        (True, b"LS+ a\r\nLS+ a\r\n"),
        (True, b"LS- a\r\n"),
        (True, b"LS+ a q 0\r\n"),
        (True, b"LS+ a q 2\r\nLS+ a q 2\r\n"),
        (True, b"L0\r\n\r\n"),
    ],
)
def test_nonsense_is_noticed(leaf: bool, data: bytes) -> None:
    with pytest.raises(Nonsense):
        Received(leaf).add(data)


def test_sense_is_not_nonsense() -> None:
    client, link = Received(False), Received(True)
    client.add(b"MSG a 1 r 2\r\nhi\r\nHMSG a 1 2 3\r\nh\r\n\r\n+OK\r\nPONG\r\n-ERR 'x'\r\n")
    link.add(b"LS+ a\r\nLS- a\r\nLS+ a\r\nLS+ a q 2\r\nLS+ a q 1\r\nLS- a q\r\n")
    link.add(b"LMSG a | q q2 0\r\n\r\nHMSG a + r q 0 0\r\n\r\n")
    client.add(b"MSG a 1 2\r\nh", whole=False)
    client.add(b"i\r\n")


def test_a_lost_report_is_noticed() -> None:
    scenario = Scenario()
    scenario.on_closed = lambda conn, reason: None  # type: ignore[method-assign]
    with pytest.raises(Nonsense):
        scenario.run((Step("attach"),))


@pytest.mark.parametrize(
    ("pattern", "subject", "subset", "yes"),
    [
        (b"a.*", b"a.b", False, True),
        (b"a.*", b"a", False, False),
        (b">", b"a.b", False, True),
        (b"a.>", b"a", False, False),
        (b"a.*", b"a.>", True, False),
        (b"a.>", b"a.>", True, True),
        (b"*", b"*", True, True),
    ],
)
def test_naive_matcher(pattern: bytes, subject: bytes, subset: bool, yes: bool) -> None:
    assert covers(pattern, subject, subset) is yes
