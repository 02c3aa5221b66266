"""The line of systemctl status, as an edge has it."""

from types import SimpleNamespace
from typing import Any

from phloem.edge.app import Edge
from phloem.edge.device.words import device_words
from phloem.shared.net.notify import Notifier
from phloem.shared.server.vitals import Vitals


def lane(confirmed: int, first: int, last: int) -> Any:
    return SimpleNamespace(
        confirmed=confirmed, first_seq=first, last_seq=last, bytes_from=lambda seq: (last + 1 - seq) * 1000
    )


def test_what_waits() -> None:
    assert list(device_words([lane(10, 1, 10)], {})) == []
    assert list(device_words([lane(10, 1, 30), lane(0, 6, 10)], {})) == [
        "25 messages (25 KB) wait for the hub"
    ]


def test_the_disk() -> None:
    disk = {"allowed": 1000, "used": 376, "held": ""}
    assert list(device_words([], {"disk": disk})) == ["disk budget 37 % used"]
    assert (
        list(device_words([], {"disk": disk | {"held": "nothing is left to shed"}}))[1]
        == "nothing is left to shed"
    )
    assert list(device_words([], {"disk": disk | {"allowed": 0}})) == []


async def test_an_edge_says_it(tmp_path: Any) -> None:
    options = {"host": "127.0.0.1", "port": -1, "jetstream": {"store_dir": str(tmp_path)}}
    async with Edge(options) as edge:
        status = Vitals(edge, Notifier()).status()
    assert "disk budget" in status
    assert status.endswith("0 clients")
