"""tests/vectors/edgelink.json: what every host and board has to agree on, held against both boards.

A board is started once for each language and its options and restarted for each vector, which leaves nothing of the
one before in it.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.rows import each
from tests.unit.bridge.boards import host
from tests.unit.bridge.boards.board import COUNT, Board, Channel, edgelink
from tests.unit.bridge.boards.building import ROOT
from tests.unit.bridge.boards.conftest import LANGUAGES, Make

VECTORS: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "edgelink.json").read_text())
TO_BOARD = (
    host.WELCOME,
    host.ASK,
    host.SCHEMA_GET,
    host.ACK,
    host.CMD,
    host.CLOCK_GET,
    host.IMAGE,
    host.PING,
)
SCHEMA = tuple(
    (c["number"], c["kind"], c["exponent"], c["name"], c["unit"]) for c in VECTORS["schema"]["channels"]
)
# A channel of each kind there is a value of, by the kind's number
OF_EACH_KIND = tuple(
    (number, number, 0, "v", "") for number in sorted({v["number"] for v in VECTORS["values"]})
)


@pytest.fixture(scope="module", params=LANGUAGES)
def fresh(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Boards of one language as they are after a start."""
    started: dict[Any, Board] = {}
    randoms = itertools.count(2)

    def one(channels: tuple[Channel, ...] = COUNT, **options: int) -> Board:
        key = (channels, *options.items())
        if key in started:
            started[key].restart(next(randoms))
        else:
            started[key] = Board(channels, language=request.param, **options)
        return started[key]

    yield one
    for board in started.values():
        board.close()


def _welcome(board: Any, session: int = 7, max_frame: int = 1024) -> host.Hello:
    """A session with the board as it is."""
    (kind, payload), *_ = host.read(board.tick(0, host.frame(host.ASK, bytes(4))))
    assert kind == host.HELLO
    it = host.Host(session, max_frame)
    assert not list(host.read(board.tick(0, it.tick(0, host.frame(kind, payload)))))
    assert board.state()["welcomed"] == 1
    assert it.hello
    return it.hello


@each("vector", VECTORS["cobs"], ids=lambda v: f"{len(v['raw']) // 2} bytes")
def test_cobs(vector: dict[str, str]) -> None:
    raw, stuffed = bytes.fromhex(vector["raw"]), bytes.fromhex(vector["stuffed"])
    assert edgelink.stuff(raw) == stuffed
    assert edgelink.unstuff(stuffed) == raw


def test_frames_of_all_lengths_are_stuffed_as_others_do(fresh: Make) -> None:
    board = fresh(frame_in=1024, frame_out=1024)
    _welcome(board)
    for size in (0, 1, 52, 230, 243, 244, 245, 246, 247, 250, 254, 255, 499, 500, 501, 700, 1000):
        for text in ("x" * size, "x" * (size // 2) + "\u00e4"):
            assert board.log(1, text)
            out = board.tick(0)
            assert out == host.frame(host.LOG, bytes((1, 0, 0, 0, 0)) + text.encode())


@each("vector", VECTORS["values"], ids=lambda v: f"{v['kind']} {v['value']}"[:40])
def test_values(fresh: Make, vector: dict[str, Any]) -> None:
    board = fresh(OF_EACH_KIND)
    _welcome(board)
    value, kind = vector["value"], vector["kind"]
    if kind == "bytes":
        value = bytes.fromhex(value)
    elif kind == "text":
        value = value.encode()
    how = {"bool": "int", "f32": "float", "f64": "double", "text": "bytes", "u32": "uint"}
    how |= {"u8": "int", "i8": "int", "u16": "uint", "i16": "int", "i32": "int"}
    assert board.put((vector["number"], how.get(kind, kind), int(value) if kind == "bool" else value))
    ((got, payload),) = host.read(board.tick(0))
    assert (got, payload[8:].hex()) == (host.DATA, f"{vector['number']:02x}" + vector["bytes"])


def test_schema(fresh: Make) -> None:
    board = fresh(SCHEMA)
    assert _welcome(board).schema == VECTORS["schema"]["number"]
    wanted = [v for v in VECTORS["messages"] if v["type"] == "Schema"]
    for index, vector in enumerate(wanted):
        out = board.tick(0, host.frame(host.SCHEMA_GET, bytes((index,))))
        assert out.hex() == vector["wire"]
    assert board.tick(0, host.frame(host.SCHEMA_GET, bytes((len(wanted),)))) == b""


@each("vector", VECTORS["messages"] + VECTORS["longer"], ids=lambda v: v["name"])
def test_messages(fresh: Make, vector: dict[str, Any]) -> None:
    """What is for a board is a good frame, whoever it is for; a board's own is counted and has no effect."""
    board = fresh(frame_in=1024, frame_out=1024)
    hello = _welcome(board, session=0x0A0B0C0D)
    board.tick(0, bytes.fromhex(vector["wire"]))
    state = board.state()
    assert (state["frames"], state["noise"]) == (3, 0)
    kind = bytes.fromhex(vector["plain"])[0] & 15
    foreign_tag = kind in (host.WELCOME, host.ACK)
    assert hello.tag != 24641
    other_session = kind == host.CMD and "0d0c0b0a" not in vector["plain"]
    assert state["foreign"] == int(kind not in TO_BOARD or foreign_tag or other_session)
    assert state["welcomed"] == 1


@each("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_refused(fresh: Make, vector: dict[str, Any]) -> None:
    board = fresh(frame_in=1024, frame_out=1024)
    _welcome(board)
    out = board.tick(0, bytes.fromhex(vector["wire"]))
    state = board.state()
    assert (state["frames"], state["foreign"], state["welcomed"], out) == (3, 1, 1, b"")


@each("vector", VECTORS["streams"], ids=lambda v: v["name"])
def test_streams(fresh: Make, vector: dict[str, Any]) -> None:
    """A board takes text for noise, and finds every frame, however the bytes are cut."""
    wire = bytes.fromhex(vector["wire"])
    for step in (1, 3, len(wire)):
        board = fresh(frame_in=1024)
        for at in range(0, len(wire), step):
            board.tick(0, wire[at : at + step])
        state = board.state()
        assert state["frames"] == len(vector["frames"])
        assert state["noise"] >= vector["noises"]
