"""``phloem fleet``: what is shown of documents, and how its words are read."""

import io
import re
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType

from phloem.hub.fleet import fleet_command
from phloem.hub.fleet.fleet_command import fleet
from phloem.hub.fleet.fleet_picture import Overview, age_ns, device, minutes, span, spark
from phloem.shared.forward.ledger import Document, GapEntry, StreamEntry, Totals
from phloem.shared.limits import SECOND_NS

NOW_NS = 1_600_000_000 * SECOND_NS  # 2020-09-13T12:26:40Z
MINUTE = NOW_NS // SECOND_NS // 60


def text(what: RenderableType, width: int = 200, height: int = 0) -> str:
    out = io.StringIO()
    Console(file=out, width=width, height=height or 100, force_terminal=bool(height), no_color=True).print(
        what
    )
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())


def document(name: str, **fields: Any) -> Document:
    given = {"state": "online", "since": "2020-09-13T12:00:00Z", "hub": "HUB"} | fields
    return Document(name, **given)


DOCUMENTS = [
    document("fine"),
    document("away", state="offline", since="2020-09-13T10:26:40Z"),
    document("behind", totals=Totals(backlog=12_345, backlog_bytes=2_000_000, rate=100.5, eta_s=200)),
    document(
        "wrong", trouble=["tele: refused, why", "two"], totals=Totals(missing=5, duplicates=1, received=9)
    ),
    document("gone", state="offline", since="2020-09-01T10:26:40Z"),
]


def test_who_needs_somebody_comes_first() -> None:
    lines = text(Overview(DOCUMENTS, "", NOW_NS)).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["wrong", "gone", "away", "behind", "fine"]
    assert lines[0].startswith("5 devices  3 online  2 offline  backlog 12,345 (2.0 MB)  100.5/s  received 9")
    assert "tele: refused, why (and 1 more)" in lines[2]
    assert "offline 2h" in lines[4]
    assert "3m20s" in lines[5]


def test_more_devices_than_there_is_room_for() -> None:
    many = [document(f"d{number:03}") for number in range(100)]
    lines = text(Overview(many, "the hub is away", NOW_NS), height=20).splitlines()
    assert len(lines) < 20
    assert "the hub is away" in lines[1]
    assert lines[-1] == "and 86 more, in better health"


def test_no_device() -> None:
    assert "no device has forwarded anything" in text(Overview([], "", NOW_NS))
    assert "nothing is known of it yet" in text(device("x", None, "", NOW_NS))


def test_one_device() -> None:
    stream = StreamEntry(
        "paused",
        stream="FLEET_tele",
        why="the disk is full",
        contiguous=1000,
        received=990,
        missing=10,
        gaps=[GapEntry(5, 14, 10, "shed [red]", "2020-09-13T12:00:00Z"), GapEntry(20, 20, -1, "x")],
        backlog=7,
        oldest="2020-09-13T12:25:40Z",
        newest="2020-09-13T12:26:30Z",
    )
    one = document(
        "dev1",
        streams={"tele": stream},
        trouble=["tele: paused"],
        link={"rtt_ms": 1.5, "metered": True, "today_bytes": 1_000_000},
        health={"uptime_s": 90_000, "version": "1.2.3"},
        events=[("2020-09-13T12:00:00Z", "it came back [bold]")],
        minute=MINUTE,
        history=[1, 0, 8],
    )
    shown = text(device("dev1", one, "", NOW_NS))
    for part in (
        "dev1  online 26m40s  at HUB",
        "! tele: paused",
        "paused: the disk is full",
        "5 to 14",
        "shed [red]",
        "unknown",
        "1m",  # waits
        "10s",  # newest
        "metered yes",
        "today_bytes 1.0 MB",
        "uptime_s 1d1h",
        "it came back [bold]",
        "▂ █",
    ):
        assert part in shown, part


def test_small_words() -> None:
    assert [span(s) for s in (0, 59, 60, 200, 3600, 7500, 90_000, 86_400 * 400)] == [
        *("0s", "59s", "1m", "3m20s", "1h", "2h5m", "1d1h", "400d"),
    ]
    assert spark([0, 1, 100, 50]) == " ▂█▅"
    assert spark([]) == ""
    assert age_ns("junk", NOW_NS) == age_ns("2030-01-01T00:00:00Z", NOW_NS) == age_ns("", NOW_NS) == 0
    late = document("x", minute=MINUTE - 2, history=[4, 5])
    assert minutes(late, NOW_NS)[-5:] == [0, 4, 5, 0, 0]
    assert minutes(document("x"), NOW_NS) == [0] * 60


@pytest.mark.parametrize(
    ("words", "device_", "server", "once"),
    [
        (["--once"], "", "nats://127.0.0.1:4222", True),
        (["-s", "x", "--once"], "", "x", True),
        (["dev1", "-s", "x"], "dev1", "x", False),
        (["-s", "x", "--once", "dev1"], "dev1", "x", True),
        (["show", "show", "--once"], "show", "nats://127.0.0.1:4222", True),
        (["-s", "x", "dev1", "-s", "y"], "dev1", "y", False),
    ],
)
def test_words(
    words: list[str], device_: str, server: str, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def run(
        options: dict[str, str], _picture: object, *, once: bool, as_json: bool, device: str = ""
    ) -> None:
        asked.append((device, options["server"], once, as_json))

    monkeypatch.setattr(fleet_command, "_run", run)
    done = CliRunner().invoke(fleet, words)
    assert (done.exit_code, done.output) == (0, "")
    assert asked == [(device_, server, once, False)]


def test_options_that_a_command_does_not_have() -> None:
    done = CliRunner().invoke(fleet, ["--once", "commands", "dev1"])
    assert done.exit_code == 2
    assert "--once does not go with commands" in done.output


def test_help_names_what_there_is() -> None:
    assert "One device in full" in CliRunner().invoke(fleet, ["--help"]).output
    assert "Gaps" not in CliRunner().invoke(fleet, ["show", "--help"]).output
