"""docs/forward.md and the forward example of the README: configurations start, and do what is said there."""

import asyncio
import re
import textwrap
from pathlib import Path

import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from phloem.edge.app import Edge
from phloem.edge.program import adjust
from phloem.hub.app import Hub
from phloem.shared.server.load import load, merge
from phloem.shared.server.validation import validate

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 20.0
LOOK_S = 0.02


def blocks(document: str) -> list[str]:
    """Everything that is indented as code."""
    text = (ROOT / document).read_text()
    return [textwrap.dedent(found) for found in re.findall(r"(?m)(?:^(?: {4}.*)?\n)+", text) if found.strip()]


def config(document: str, start: str) -> str:
    [found] = [block for block in blocks(document) if block.lstrip().startswith(start)]
    return found


def written(folder: Path, name: str, text: str, **changes: str) -> Path:
    """A file with other ports and places: each one has to be in the text."""
    for old, new in changes.items():
        pattern = {"client": "127.0.0.1:4222", "device": "127.0.0.1:4333", "leaf": "127.0.0.1:7422"}.get(
            old, old
        )
        assert pattern in text
        text = text.replace(pattern, new)
    text, found = re.subn(r'store_dir: "\./', f'store_dir: "{folder}/', text)
    assert found == 1
    (folder / name).write_text(text)
    return folder / name


async def first(js: JetStreamContext, stream: str) -> tuple[str, bytes, dict[str, str]]:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                message = await js.get_msg(stream, 1)
            except NotFoundError:
                await asyncio.sleep(LOOK_S)
                continue
            return str(message.subject), bytes(message.data or b""), dict(message.headers or {})


async def test_five_minutes(tmp_path: Path) -> None:
    text = config("docs/forward.md", "# hub.conf")
    file = written(tmp_path, "hub.conf", text, client="127.0.0.1:-1", leaf="127.0.0.1:-1")
    async with Hub(file) as hub:
        text = config("docs/forward.md", "# edge.conf")
        ports = {"device": "127.0.0.1:-1", "leaf": f"127.0.0.1:{hub.leaf_port}"}
        async with Edge(written(tmp_path, "edge.conf", text, **ports)) as edge:
            at_edge, at_hub = await edge.connect(), await hub.connect()
            await at_edge.publish("climate.roof", b'{"t":21.5}')
            await at_edge.publish("alarm.frost", b'{"t":-0.5}')
            js = at_hub.jetstream()
            subject, payload, headers = await first(js, "FLEET_readings")
            assert (subject, payload) == ("fleet.readings.greenhouse-1.climate.roof", b'{"t":21.5}')
            origin = re.fullmatch(r"(\w{8})\.(\w{8}) (\d+) (\d{19}) (unsynced|\d+)", headers["Phloem-Origin"])
            assert origin is not None
            assert origin[3] == "1"
            subject, payload, _ = await first(js, "FLEET_alarms")
            assert (subject, payload) == ("fleet.alarms.greenhouse-1.alarm.frost", b'{"t":-0.5}')
            assert (await at_edge.jetstream().stream_info("FORWARD_readings")).config.max_bytes == 1 << 30
            await at_edge.close()
            await at_hub.close()


def test_the_header_is_described_as_it_is_shown() -> None:
    text = config("docs/forward.md", "Phloem-Origin: ")
    assert re.search(r"^Phloem-Origin: \w{8}\.\w{8} \d+ \d{19} unsynced\nPhloem-Historical: 1$", text, re.M)


@pytest.mark.parametrize("document", ["README.md", "docs/forward.md"])
def test_every_forward_block_is_right(tmp_path: Path, document: str) -> None:
    found = [block for block in blocks(document) if re.search(r"(?m)^forward \{", block)]
    assert found
    for text in found:
        if "server_name" not in text:
            text = f'server_name: d\njetstream {{ store_dir: "{tmp_path}" }}\n{text}'
        (tmp_path / "edge.conf").write_text(text)
        loaded = load(tmp_path / "edge.conf")
        assert loaded.warnings == ()
        options = adjust(merge(loaded, {}))
        validate(options)
        assert options.forward


def test_every_option_is_explained() -> None:
    """And nothing is that is none."""
    text = (ROOT / "docs/forward.md").read_text()
    table = text[text.index("## Options") : text.index("### Classes")]
    explained = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"(?m)^\| (`.*?) \|", table))))
    page = (ROOT / "docs/configuration.md").read_text()
    rows = page[page.index("## forward.NAME") :].split("\n## ")[0]
    assert explained == set(re.findall(r"(?m)^\| `(\w+)`", rows))


def test_the_tests_that_are_named_are_there() -> None:
    text = (ROOT / "docs" / "forward.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py|)::(test_\w+)`", text)
    assert len(named) > 30
    for path, name in named:
        source = (ROOT / (path or "tests/chaos/test_faults.py")).read_text()
        assert re.search(rf"^(async )?def {name}\(", source, re.M), f"{path}::{name}"
