"""``phloem demo``: words it does not take, children that do not start."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from phloem.edge.demo import children
from phloem.edge.demo.children import DemoError
from phloem.edge.demo.command import demo
from phloem.edge.demo.pages import read_link
from phloem.shared.server.server import Server


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--for 10", "'10' is not a time such as 10s or 1m30s"),
        ("--for 0s", "'0s' is not a time"),
        ("--for -1s", "'-1s' is not a time"),
        ("--rate 0", "0.0 is not in the range"),
        ("--rate 5001", "5001.0 is not in the range"),
        ("more", "unexpected extra argument"),
    ],
)
def test_words_it_does_not_take(words: str, text: str) -> None:
    done = CliRunner().invoke(demo, words.split())
    assert done.exit_code == 2
    assert text in done.stderr


async def test_a_child_that_ends_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemoError) as error:
        async with children.start("hub", "max_payload: 1GB\n", tmp_path, lambda: None):
            raise AssertionError("it does not start")
    assert str(error.value) == (
        "the hub ended with exit code 1: phloem hub: max_payload (1073741824) cannot be higher than "
        "max_pending (268435456)"
    )


async def test_waiting_for_a_child_can_be_ended(tmp_path: Path) -> None:
    def unless() -> None:
        raise DemoError("enough")

    with pytest.raises(DemoError, match="enough"):
        async with children.start("hub", "", tmp_path, unless):
            raise AssertionError("it was stopped")


async def test_link_of_a_server_without_links() -> None:
    async with Server({"listen": "127.0.0.1:-1", "http": "127.0.0.1:-1"}) as server:
        assert server.monitor is not None
        assert await read_link(f"http://127.0.0.1:{server.monitor.port}") is None
        port = server.monitor.port
    assert await read_link(f"http://127.0.0.1:{port}") is None
