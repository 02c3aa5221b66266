"""``phloem edge`` and ``phloem hub`` as commands: help that is true, files that are checked."""

import textwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from phloem.edge.command import edge
from phloem.edge.forward.settings import entry_of
from phloem.edge.ports import port_settings
from phloem.edge.program import EXAMPLE, adjust
from phloem.shared.forward.entries import Class
from phloem.shared.server.load import load, merge
from phloem.shared.server.validation import validate


def test_the_example_in_help_works(tmp_path: Path) -> None:
    file = tmp_path / "edge.conf"
    file.write_text(textwrap.dedent(EXAMPLE))
    loaded = load(file)
    assert loaded.warnings == ()
    options = adjust(merge(loaded, {}))
    validate(options)
    assert options.leafnodes.remotes[0].urls == ("nats-leaf://edge:secret@hub.example.com:7422",)
    assert [(port.name, port.subject) for port in port_settings(options)] == [
        ("climate", "greenhouse-1.climate")
    ]
    assert [entry_of(block).cls for block in options.forward] == [Class.ALARM, Class.TELEMETRY]
    done = CliRunner().invoke(edge, ["-c", str(file), "-t"])
    assert (done.exit_code, done.stderr.split(" is valid")[0]) == (
        0,
        f"phloem edge: configuration file {file}",
    )


@pytest.mark.parametrize("words", [["--help"], ["help"], ["-h"]])
def test_help_teaches(words: list[str]) -> None:
    done = CliRunner().invoke(edge, words)
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: phloem edge [options]\n\nRun the leaf node of a device")
    assert EXAMPLE in done.stdout
    assert "    max_pending: 8MB  " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    with click.Context(edge) as context:
        assert edge.get_help(context) + "\n" == done.stdout


@pytest.mark.parametrize("flags", [["-t"], []])
def test_a_port_that_cannot_work_ends_with_one_line(tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "edge.conf"
    file.write_text('serial { s { device: "/dev/x", subject: "a", command_subject: ">" } }')
    done = CliRunner().invoke(edge, ["-c", str(file), *flags])
    assert done.exit_code == 1
    assert done.stderr == (
        "phloem edge: serial \"s\": command_subject '>' includes subject 'a': "
        "the device would be sent its own output\n"
    )
