"""``forward`` blocks: what they mean, and what cannot work is refused with the name of the block."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from phloem.edge.command import edge
from phloem.edge.forward.settings import check, entry_of, keep_of
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Class, Entry
from phloem.shared.leaf.hours import Window, wait_s
from phloem.shared.limits import FORWARD_STREAMS, SECOND_NS
from phloem.shared.server.load import as_options
from phloem.shared.server.options import Options
from phloem.shared.server.options_forward import Forward

JETSTREAM = {"store_dir": "/nowhere"}


def options(*blocks: dict[str, object], **more: object) -> Options:
    forward = {f"e{i}": block for i, block in enumerate(blocks)}
    return as_options({"server_name": "dev-1", "jetstream": JETSTREAM, "forward": forward, **more})


def block(**fields: object) -> Forward:
    return options(fields).forward[0]


def test_an_entry_of_subjects() -> None:
    assert entry_of(block(subjects=["a.>", "b"])) == Entry(name="e0", stream="FORWARD_e0", to="FLEET_e0")


def test_an_entry_with_everything() -> None:
    made = block(
        stream="READINGS",
        to="ALL",
        **{"class": "alarm"},
        rate=20_480,
        hours=["22:00-06:00", "12:30-24:00"],
        linger="2s",
    )
    assert entry_of(made) == Entry(
        name="e0",
        stream="READINGS",
        to="ALL",
        cls=Class.ALARM,
        rate=20_480,
        hours=(Window(79_200, 21_600), Window(45_000, 0)),
        linger_ns=2 * SECOND_NS,
    )


def test_hours_that_end_when_they_begin_are_the_whole_day() -> None:
    [window] = entry_of(block(subjects="a", hours="08:00-08:00")).hours
    assert [wait_s([window], second) for second in (0, 28_799, 28_800, 86_399)] == [0] * 4


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"subjects": "a"}, 0),
        ({"stream": "S"}, -1),
        ({"stream": "S", "keep": 0}, 0),
        ({"subjects": "a", "keep": -1}, -1),
        ({"subjects": "a", "keep": 64 << 20}, 64 << 20),
    ],
)
def test_what_stays_after_it_was_confirmed(fields: dict[str, object], kept: int) -> None:
    assert keep_of(block(**fields)) == kept


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "needs subjects, a stream, or both"),
        ({"subjects": "a", "rate": -1}, "rate is bytes a second, not -1; 0 is as fast as the link can"),
        ({"subjects": "a", "keep": -3}, "keep is bytes, not -3; -1 leaves it to the stream's limits"),
        ({"subjects": "a", "account": "A"}, 'account "A" has no JetStream'),
        ({"subjects": "a", "hours": "22-06"}, '"22-06" is no window of the day; write it as "01:00-05:00"'),
        ({"subjects": "a", "hours": "25:00-06:00"}, '"25:00-06:00": a day has 24 hours'),
        ({"subjects": "a", "hours": ["01:00-02:00", "22:60-06:00"]}, '"22:60-06:00" is no window'),
    ],
)
def test_what_cannot_work(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(options({"subjects": "fine"}, fields))
    assert str(error.value).startswith('forward "e1": ')
    assert text in str(error.value)


@pytest.mark.parametrize("name", ["a.b", "a b", "-a", "ä", "x" * 65, "*"])
def test_names_that_are_no_tokens(name: str) -> None:
    with pytest.raises(ConfigError, match="a name has letters, digits, - and _"):
        check(options(forward={name: {"subjects": "a"}}))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"jetstream": False}, "add a jetstream block with a store_dir"),
        ({"server_name": ""}, "forward needs a server_name"),
        ({"server_name": "dev.1"}, "forward needs a server_name"),
    ],
)
def test_what_it_needs(more: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        check(options({"subjects": "a"}, **more))


def test_without_forward_nothing_is_needed() -> None:
    check(as_options({"server_name": "any.name"}))


def test_too_many() -> None:
    check(options(*[{"subjects": "a"}] * FORWARD_STREAMS))
    with pytest.raises(ConfigError, match=rf"{FORWARD_STREAMS + 1} entries, at most {FORWARD_STREAMS}"):
        check(options(*[{"subjects": "a"}] * (FORWARD_STREAMS + 1)))


@pytest.mark.parametrize("flags", [["-t"], []])
def test_it_ends_with_one_line(tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "edge.conf"
    file.write_text(
        f'server_name: d\njetstream {{ store_dir: "{tmp_path}" }}\nforward {{ readings {{ rate: 1KB }} }}'
    )
    done = CliRunner().invoke(edge, ["-c", str(file), *flags])
    assert (done.exit_code, done.stderr) == (
        1,
        'phloem edge: forward "readings": needs subjects, a stream, or both\n',
    )


def test_a_class_that_there_is_not_is_refused_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "edge.conf"
    file.write_text("forward {\n  a { subjects: x, class: urgent }\n}")
    done = CliRunner().invoke(edge, ["-c", str(file), "-t"])
    assert done.exit_code == 1
    assert f"{file}:2:" in done.stderr
    assert "urgent" in done.stderr


def test_a_subject_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "edge.conf"
    file.write_text('forward {\n  a { subjects: ["fine", "a..b"] }\n}')
    done = CliRunner().invoke(edge, ["-c", str(file), "-t"])
    assert done.exit_code == 1

    assert 'subject "a..b" is not a valid subject' in done.stderr
