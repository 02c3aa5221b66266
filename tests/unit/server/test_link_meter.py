"""What a link has cost: how bytes of the network are laid on classes, and how often that is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phloem.shared import limits
from phloem.shared.errors import ConfigError
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.link_meter import KEY, LinkMeter
from phloem.shared.server.load import as_options
from phloem.shared.server.server import Server
from phloem.shared.server.validation import validate
from phloem.shared.testing.manual_clock import ManualClock

NOON_NS = 1_800_014_400 * SECOND_NS  # 2027-01-15 12:00 UTC


def config(link: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any]:
    kept = {} if folder is None else {"jetstream": {"store_dir": str(folder)}}
    return {"listen": "127.0.0.1:-1", "phloem": {"link": {"hours_utc": True, **link}}, **kept}


def meter(clock: ManualClock | None = None, **link: Any) -> LinkMeter:
    return LinkMeter(Server(config(link), clock=clock or ManualClock(wall_ns=NOON_NS)))


def test_what_went_over_the_network_is_laid_on_those_who_charged() -> None:
    it = meter()
    it.charge("telemetry", 300)
    it.charge("alarm", 100)
    assert it.shown().today == {"telemetry": 300, "alarm": 100}
    it.settle(wire=1000, payload=500)  # 100 B of messages were nobody's
    assert it.shown().today == {"telemetry": 600, "alarm": 200, "core": 200}
    it.charge("telemetry", 1000)
    it.settle(wire=100, payload=1000)  # compressed
    assert it.shown().today["telemetry"] == 700


def test_without_messages_it_is_control_traffic() -> None:
    it = meter()
    it.settle(wire=168, payload=0)
    it.settle(wire=0, payload=0)
    it.overhead(60)
    assert it.shown().total == {"control": 228}


def test_a_new_day_and_a_clock_that_cannot_be_trusted() -> None:
    clock = ManualClock(wall_ns=NOON_NS)
    it = meter(clock, per_day=1000)
    it.charge("telemetry", 1000)
    refused = it.may_send("telemetry", 1)
    assert (refused.ok, refused.wait_s) == (False, 43_200)
    clock.set_wall_ns(0)
    assert not it.may_send("telemetry", 1).ok
    assert not it.shown().clock_trusted
    clock.set_wall_ns(NOON_NS + 12 * 3600 * SECOND_NS)
    assert it.may_send("telemetry", 1).ok
    assert it.shown().this_month == {"telemetry": 1000}


def test_hours() -> None:
    clock = ManualClock(wall_ns=NOON_NS)
    it = meter(clock, hours=["22:00-02:00"])
    assert it.may_send("telemetry").wait_s == 10 * 3600
    assert it.may_send("alarm").ok
    clock.advance(13 * 3600 * SECOND_NS)
    assert it.may_send("telemetry").ok


async def test_it_is_written_seldom_and_at_the_end(tmp_path: Path) -> None:
    clock = ManualClock(wall_ns=NOON_NS)
    async with Server(config({"metered": True}, tmp_path), clock=clock, seed=1) as server:
        assert server.jetstream is not None
        store, it = server.jetstream.store, server.leafs.meter

        def written(size: int, seconds: int) -> bool:
            before = store.get(KEY)
            it.charge("telemetry", size)
            clock.advance(seconds * SECOND_NS)
            it.look()
            return store.get(KEY) != before

        assert not written(168, 60)
        assert not written(limits.LINK_SAVE_BYTES - 169, 60)
        assert written(1, 60)
        assert not written(limits.LINK_SAVE_BYTES, 59)
        assert written(1, 1)
        assert not written(1, 3599)
        assert written(1, 1)
        it.charge("telemetry", 7)
        total = it.shown().total
    async with Server(config({"metered": True}, tmp_path), clock=clock, seed=2) as server:
        assert server.leafs.meter.shown().total == total


@pytest.mark.parametrize(
    "wrong",
    [
        {"hours": ["25:00-01:00"]},
        {"shares": {"telemetry": "half"}},
        {"dead_after": "1s"},
        {"reconnect_max": "-1s"},
    ],
)
def test_what_cannot_be_configured(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        validate(as_options(config(wrong)))
