"""Which hub is dialled next, and when (wire 2.10)."""

import random
from typing import Any

import pytest

from phloem.shared.errors import LinkError
from phloem.shared.leaf.reconnect import Redial

SECOND_NS = 1_000_000_000


def redial(*urls: str, **settings: Any) -> Redial:
    chosen = {"reconnect_ns": SECOND_NS, "no_randomize": True, "ignore_discovered": False} | settings
    return Redial(urls, random.Random(1), **chosen)


def order(machine: Redial, count: int) -> list[str]:
    return [machine.next_url().address for _ in range(count)]


def test_urls_in_turn() -> None:
    assert order(redial("nats://a:1", "nats://b:1"), 5) == ["a:1", "b:1", "a:1", "b:1", "a:1"]


def test_one_url_again_and_again() -> None:
    assert order(redial("nats://a:1"), 3) == ["a:1", "a:1", "a:1"]


def test_no_url() -> None:
    with pytest.raises(LinkError):
        redial()


def test_random_order_has_all_of_them() -> None:
    urls = [f"nats://h{n}:1" for n in range(20)]
    shuffled = order(redial(*urls, no_randomize=False), 20)
    assert sorted(shuffled) == sorted(f"h{n}:1" for n in range(20))
    assert shuffled != [f"h{n}:1" for n in range(20)]


def test_discovered_urls_come_first_and_have_credentials() -> None:
    machine = redial("nats://u:p@a:1")
    assert machine.next_url().address == "a:1"
    machine.discovered(["a:1", "b:1", "c:1", "c:1", "://"])
    assert order(machine, 4) == ["b:1", "c:1", "a:1", "b:1"]
    assert machine.next_url() == ("nats-leaf", "c", 1, "u", "p")


def test_discovered_urls_replace_earlier_ones() -> None:
    machine = redial("nats://a:1")
    machine.discovered(["b:1"])
    machine.discovered(["c:1"])
    assert order(machine, 3) == ["c:1", "a:1", "c:1"]


def test_discovered_urls_may_be_unwanted() -> None:
    machine = redial("nats://a:1", ignore_discovered=True)
    machine.discovered(["b:1"])
    assert order(machine, 2) == ["a:1", "a:1"]


def test_pause_after_a_lost_link_is_exact() -> None:
    assert redial("nats://a").lost() == SECOND_NS


def test_pause_after_a_failure_has_jitter() -> None:
    machine = redial("nats://a")
    pauses = [machine.failed() for _ in range(200)]
    assert all(SECOND_NS <= pause < 2 * SECOND_NS for pause in pauses)
    assert len(set(pauses)) > 100


def test_a_penalty_counts_once_and_the_longest_wins() -> None:
    machine = redial("nats://a")
    machine.penalty(30 * SECOND_NS)
    machine.penalty(5 * SECOND_NS)
    assert machine.lost() == 31 * SECOND_NS
    assert machine.lost() == SECOND_NS


def test_which_failures_are_reported() -> None:
    machine = redial("nats://a")
    reported = []
    for attempt in range(1, 7201):
        machine.failed()
        if machine.worth_reporting(3600, 1):
            reported.append(attempt)
    assert reported == [1, 3600, 7200]
    machine.connected()
    machine.failed()
    machine.failed()
    assert machine.worth_reporting(3600, 1)
    assert not machine.worth_reporting(1, 3600)
