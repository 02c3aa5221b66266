"""The plug is pulled out of a working store: what was acknowledged is there, nothing is made up or given out twice."""

from pathlib import Path

import pytest

from phloem.shared.store import keyring
from tests.durability.cuts import complete, cut, points, record
from tests.durability.store_load import verify
from tests.durability.trace import Event
from tests.support.sampling import few_of

ENDINGS = ("leave", "close")


def lives(tmp_path: Path, seed: str, steps: int, *more: str) -> list[Event]:
    """Two lives of one store: the first is killed, the second begins with recovery and is closed."""
    events: list[Event] = []
    for life, ending in enumerate(ENDINGS):
        arguments = (seed, str(life), str(steps), ending, *more)
        events = record("tests.durability.store_load", tmp_path / "store", tmp_path / "trace", *arguments)
    complete(events, tmp_path / "store")
    return events


CASES = [(mode, cipher) for mode in ("strict", "relaxed") for cipher in ("", "chacha")]


@pytest.mark.parametrize(("mode", "cipher"), few_of(CASES, ("strict", "chacha"), ("relaxed", "")))
def test_power_cuts(mode: str, cipher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLOEM_TEST_CIPHER", cipher)
    events = lives(tmp_path, "short", 60, mode)
    failures = cut(events, points(events, 20, 1), verify, tmp_path / "cut", 1)
    assert not failures, "\n".join(map(str, failures))


def test_power_cuts_while_a_store_is_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, trace = tmp_path / "store", tmp_path / "trace"
    before = record("tests.durability.store_load", folder, trace, "encrypting", "0", "40", "leave")
    events = record("tests.durability.encrypting", folder, trace)
    complete(events, folder)
    after = events[len(before) :]
    at = [len(before) + point for point in points(after, 40, 1)]
    monkeypatch.setenv("PHLOEM_TEST_CIPHER", "prepare")
    monkeypatch.setattr(keyring, "COST", 2)
    failures = cut(events, at, verify, tmp_path / "cut", 1)
    assert not failures, "\n".join(map(str, failures))
    assert len(after) > 40
