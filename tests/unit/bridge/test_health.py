"""When a line counts as garbled."""

from random import Random

import pytest

from phloem.firmware_bridge.health import Health, is_noise


@pytest.mark.parametrize(
    "line",
    [
        *(b"21.5", b"t=21 h=40\t", "21,5 °C".encode("latin-1"), "温度 21".encode(), "Übergröße".encode()),
        *(b"\x1b[0m21.5", b"x"),
    ],
)
def test_text(line: bytes) -> None:
    assert not is_noise(line)


@pytest.mark.parametrize("line", [b"\xf8\x80\xfe", b"\x00\x01\x02", b"ab\x80\xff", b"\x80", b"\x01\x02ab"])
def test_noise(line: bytes) -> None:
    assert is_noise(line)


def test_a_few_bad_frames_are_no_judgement() -> None:
    health, rng = Health(4096), Random(1)
    for _ in range(10_000):
        good = rng.random() > 0.2
        health.note(good, 20 * good, not good, 20 * (not good))
        assert not health.garbled


def test_bytes_without_an_end_are_bad_and_the_judgement_waits_for_enough_of_them() -> None:
    health = Health(4096)
    health.note(0, 0, 1, 2000)
    assert not health.garbled
    health.note(0, 0, 0, 4000)
    assert health.garbled


def test_one_damaged_frame_of_the_longest_is_no_judgement() -> None:
    for longest in (256, 4096, 65_536):
        health = Health(longest)
        for _ in range(100):
            health.note(1, longest, 0, 0)
        health.note(0, 0, 1, longest)
        assert not health.garbled


def test_it_is_clear_again_when_little_is_bad() -> None:
    health = Health(4096)
    for _ in range(64):
        health.note(0, 0, 1, 10)
    for _ in range(47):
        health.note(1, 10, 0, 0)
        assert health.garbled
    for _ in range(2):
        health.note(1, 10, 0, 0)
    assert not health.garbled


def test_very_much_at_once_counts_by_its_shares() -> None:
    health = Health(4096)
    health.note(1000, 0, 3000, 0)
    assert health.garbled
    health.note(3000, 0, 100, 0)
    assert not health.garbled
