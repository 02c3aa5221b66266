"""What a board does, one thing at a time, whatever language it is in."""

import hashlib
import struct

import pytest
from tests.unit.bridge.boards import host
from tests.unit.bridge.boards.board import Board
from tests.unit.bridge.boards.conftest import Make
from tests.unit.bridge.boards.host import Hello, frame

SESSION = 7


def heard(board: Board, now_ms: int, data: bytes = b"") -> list[tuple[int, bytes]]:
    return list(host.read(board.tick(now_ms, data)))


def welcome(
    board: Board, *, now_ms: int = 0, following: int | None = None, max_frame: int = 1024, more: bytes = b""
) -> Hello:
    (kind, payload), *_ = heard(board, now_ms, frame(host.ASK, struct.pack("<I", SESSION)))
    assert kind == host.HELLO
    hello = Hello.of(payload)
    following = hello.first if following is None else following
    payload = struct.pack("<IHIH", SESSION, hello.tag, following, max_frame) + more
    board.tick(now_ms, frame(host.WELCOME, payload))
    assert board.state()["welcomed"] == 1
    return hello


def ack(hello: Hello, following: int, held: int = 0) -> bytes:
    bits = held.to_bytes(max(1, (held.bit_length() + 7) // 8), "little")
    return frame(host.ACK, struct.pack("<HH", hello.tag, following & 0xFFFF) + bits)


def cmd(number: int, name: str, argument: bytes = b"", session: int = SESSION) -> bytes:
    head = struct.pack("<IHH", session, number, 0)
    return frame(host.CMD, head + bytes((len(name),)) + name.encode() + argument)


def seqs(frames: list[tuple[int, bytes]]) -> list[int]:
    assert all(kind == host.DATA for kind, _ in frames)
    return [struct.unpack_from("<H", payload, 2)[0] for _, payload in frames]


def put(board: Board, count: int) -> None:
    for value in range(count):
        assert board.put((0, "uint", value))


def test_hello_every_second_until_welcomed(make: Make) -> None:
    board = make(uid="0102", firmware="green 1", window=3, reason=3, boot=9)
    (first,) = heard(board, 0)
    hello = Hello.of(first[1])
    assert (hello.uid, hello.first, hello.fresh, hello.boot) == (b"\1\2", 0, 0, 9)
    assert (hello.reason, hello.window, hello.max_frame, hello.firmware) == (3, 3, 64, "green 1")
    assert hello.caps & 11 == 11
    assert heard(board, 999) == []
    assert heard(board, 1000) == [first]
    assert heard(board, 1999) == []
    assert heard(board, 2000) == [first]
    welcome(board, now_ms=2000)
    assert heard(board, 9000) == []


def test_no_data_before_the_welcome_of_this_start(make: Make) -> None:
    board = make()
    put(board, 2)
    hello = Hello.of(heard(board, 0)[0][1])
    wrong = struct.pack("<IHIH", SESSION, hello.tag ^ 1, 2, 64)
    assert heard(board, 10, frame(host.WELCOME, wrong) + ack(hello, 1)) == []
    assert board.state()["waiting"] == 2
    board.tick(20, frame(host.WELCOME, struct.pack("<IHIH", SESSION, hello.tag, 0, 64)))
    assert board.state()["foreign"] == 2


def test_a_foreign_tag_is_answered_with_hello_once_a_second(make: Make) -> None:
    board = make()
    hello = welcome(board)
    alien = frame(host.ACK, struct.pack("<HHB", hello.tag ^ 5, 0, 0))
    assert heard(board, 500, alien) == []
    assert [kind for kind, _ in heard(board, 1000, alien)] == [host.HELLO]
    assert heard(board, 1100, alien) == []


def test_another_session_asks_and_data_waits_for_its_welcome(make: Make) -> None:
    board = make()
    welcome(board)
    assert [kind for kind, _ in heard(board, 1, frame(host.ASK, struct.pack("<I", SESSION)))] == [host.HELLO]
    put(board, 1)
    assert seqs(heard(board, 2)) == [0]
    assert [kind for kind, _ in heard(board, 3, frame(host.ASK, struct.pack("<I", 99)))] == [host.HELLO]
    assert heard(board, 900) == []


def test_a_window_is_under_way_and_repeated_ever_later(make: Make) -> None:
    board = make(window=3)
    hello = welcome(board)
    put(board, 5)
    assert seqs(heard(board, 0)) == [0, 1, 2]
    at, wait = 0, 200
    while wait < 20_000:
        assert heard(board, at + min(wait, 5000) - 1) == []
        at += min(wait, 5000)
        assert seqs(heard(board, at)) == [0, 1, 2]
        wait *= 2
    assert seqs(heard(board, at, ack(hello, 1))) == [3]
    assert heard(board, at + 199) == []
    assert seqs(heard(board, at + 200)) == [1, 2, 3]


def test_what_the_host_holds_is_not_repeated_and_what_it_misses_is_at_once(make: Make) -> None:
    board = make(window=8)
    hello = welcome(board)
    put(board, 8)
    assert len(heard(board, 0)) == 8
    assert seqs(heard(board, 10, ack(hello, 0, 0b0001_0110))) == [0, 3]
    assert heard(board, 20, ack(hello, 0, 0b0001_0110)) == []
    assert seqs(heard(board, 30, ack(hello, 0, 0b1001_0110))) == [0, 3, 5, 6]
    assert seqs(heard(board, 240)) == [0, 3, 5, 6]
    assert board.state()["waiting"] == 8


def test_if_all_are_held_the_oldest_is_repeated(make: Make) -> None:
    """The ACK that they are durable may have been lost."""
    board = make(window=4)
    hello = welcome(board)
    put(board, 3)
    heard(board, 0)
    assert heard(board, 100, ack(hello, 0, 0b111)) == []
    assert seqs(heard(board, 200)) == [0]
    assert heard(board, 210, ack(hello, 3)) == []
    assert board.state()["waiting"] == 0


def test_acks_of_what_was_not_sent_are_counted(make: Make) -> None:
    board = make(window=2)
    hello = welcome(board)
    put(board, 5)
    heard(board, 0)
    for following in (3, 5, 6, 0xFFFF, 0x8000):
        board.tick(1, ack(hello, following))
    assert board.state()["waiting"] == 5
    assert board.state()["foreign"] == 5


def test_a_host_that_waits_for_what_is_gone_hears_where_the_ring_begins(make: Make) -> None:
    board = make(window=2)
    hello = welcome(board)
    put(board, 3)
    board.tick(0)
    board.tick(1, ack(hello, 2))
    said = [heard(board, now_ms, ack(hello, 1)) for now_ms in (999, 1000, 1001)]
    hellos = [[Hello.of(payload) for kind, payload in frames if kind == host.HELLO] for frames in said]
    assert [[each.first for each in some] for some in hellos] == [[], [2], []], "once a second"


def test_a_welcome_frees_what_is_durable_and_nothing_from_below(make: Make) -> None:
    board = make()
    hello = welcome(board)
    put(board, 4)
    board.tick(0)
    board.tick(1, ack(hello, 1))
    assert welcome(board, now_ms=2, following=0).first == 1
    assert board.state()["waiting"] == 3
    welcome(board, now_ms=3, following=3)
    assert board.state()["waiting"] == 1


def test_a_board_whose_ring_went_back_in_time_goes_on_where_the_host_is(make: Make) -> None:
    """What was made since the start is not lost."""
    board = make()
    put(board, 3)
    hello = welcome(board, following=1000)
    assert seqs(heard(board, 200)) == [1000, 1001, 1002]
    board.tick(300, ack(hello, 1003))
    put(board, 1)
    assert seqs(heard(board, 300)) == [1003]
    assert board.state()["renewed"] == 1


def test_a_full_ring_refuses_and_keeps_what_it_has(make: Make) -> None:
    board = make(ring=100)
    kept = [board.put((0, "uint", value)) for value in range(20)]
    count = kept.count(True)
    assert 5 <= count < 20
    assert kept == [True] * count + [False] * (20 - count)
    hello = welcome(board)
    for following in range(1, count + 1):
        board.tick(following, ack(hello, following))
    assert board.state() | {"waiting": 0, "refused": 20 - count} == board.state()
    assert board.put((0, "uint", 1))


@pytest.mark.parametrize(
    ("kind", "how", "good", "bad"),
    [
        (0, "int", (0, 1), (2, -1)),
        (1, "int", (0, 255), (256, -1)),
        (2, "int", (-128, 127), (128, -129)),
        (3, "int", (0, 65535), (65536, -1)),
        (4, "int", (-32768, 32767), (32768, -32769)),
        (5, "uint", (0, 2**32 - 1), ()),
        (5, "int", (0,), (-1,)),
        (6, "int", (-(2**31), 2**31 - 1), ()),
        (6, "uint", (2**31 - 1,), (2**31,)),
        (8, "u64", (0, 2**64 - 1), ()),
        (8, "i64", (2**63 - 1,), (-1,)),
        (9, "i64", (-(2**63), 2**63 - 1), ()),
        (9, "u64", (2**63 - 1,), (2**63,)),
        (9, "int", (-5,), ()),
    ],
)
def test_values_have_to_fit_their_kind(
    make: Make, kind: int, how: str, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    board = make(((1, kind, 0, "v", ""),), ring=4096)
    assert all(board.put((1, how, value)) for value in good)
    assert not any(board.put((1, how, value)) for value in bad)
    assert not board.put((2, how, good[0])), "no such channel"
    assert not board.put(), "nothing in it"
    assert board.state()["waiting"] == len(good)


def test_a_frame_is_kept_whole_or_not_at_all(make: Make) -> None:
    board = make(((0, 5, 0, "a", ""), (1, 1, 0, "b", ""), (2, 11, 0, "c", "")))
    assert not board.put((0, "uint", 1), (1, "int", 256))
    assert not board.put((0, "uint", 1), (2, "bytes", bytes(60)))
    assert board.put((0, "uint", 1), (1, "int", 2), (2, "bytes", b"xyz"))
    welcome(board)
    ((_, payload),) = heard(board, 200)
    assert payload[8:] == b"\0\1\0\0\0\1\2\2\3xyz"


def test_a_command_is_done_once(make: Make) -> None:
    board = make()
    welcome(board)
    wanted = (host.REPLY, struct.pack("<IHB", SESSION, 1, 0) + b"abc")
    assert heard(board, 0, cmd(1, "echo", b"abc")) == [wanted]
    assert heard(board, 1, cmd(1, "echo", b"abc")) == [wanted]
    assert heard(board, 2, cmd(2, "fail")) == [(host.REPLY, struct.pack("<IHB", SESSION, 2, 2) + b"why")]
    assert heard(board, 3, cmd(3, "nothing")) == [(host.REPLY, struct.pack("<IHB", SESSION, 3, 1))]
    assert board.commands == [("echo", b"abc"), ("fail", b""), ("nothing", b"")]


def test_a_command_may_take_its_time(make: Make) -> None:
    board = make()
    welcome(board)
    assert heard(board, 0, cmd(1, "later")) == [(host.REPLY, struct.pack("<IHB", SESSION, 1, 3))]
    assert heard(board, 1, cmd(2, "echo", b"x")) == [(host.REPLY, struct.pack("<IHB", SESSION, 2, 3))]
    assert heard(board, 2, cmd(1, "later")) == [(host.REPLY, struct.pack("<IHB", SESSION, 1, 3))]
    board.finish(0, b"now")
    done = (host.REPLY, struct.pack("<IHB", SESSION, 1, 0) + b"now")
    assert heard(board, 3) == [done]
    assert heard(board, 4, cmd(1, "later")) == [done]
    assert heard(board, 5, cmd(2, "echo", b"x")) == [(host.REPLY, struct.pack("<IHB", SESSION, 2, 0) + b"x")]
    assert [name for name, _ in board.commands] == ["later", "echo"]


def test_commands_of_another_session_or_before_the_welcome_are_not_done(make: Make) -> None:
    board = make()
    board.tick(0, cmd(1, "echo", session=0))
    welcome(board)
    assert heard(board, 1, cmd(1, "echo", session=8)) == []
    board.restart(2)
    board.tick(2, cmd(1, "echo"))
    assert board.commands == []


def test_a_result_is_cut_at_what_the_host_takes(make: Make) -> None:
    board = make(frame_in=512, frame_out=512)
    welcome(board, max_frame=64)
    ((_, payload),) = heard(board, 0, cmd(1, "echo", bytes(64)))
    assert len(payload) + 5 <= 64


def test_the_clock(make: Make) -> None:
    board = make()
    hello = welcome(board)
    ask = struct.pack("<HBIQ", 77, 0, 0, 0)
    told = struct.pack("<HBIQ", 78, 1, 0xFFFF_FF00, 1_795_852_800_000)
    answer = (host.CLOCK, struct.pack("<HHII", hello.tag, 77, 5000, 5000))
    assert heard(board, 5000, frame(host.CLOCK_GET, ask)) == [answer]
    assert board.unix_ms() is None
    board.tick(0xFFFF_FF80, frame(host.CLOCK_GET, told))
    assert board.unix_ms() == 1_795_852_800_128
    board.tick(0x1_0000_0100)
    assert board.unix_ms() == 1_795_852_800_512
    board.tick(0xFFFF_FE00)
    assert board.unix_ms() == 1_795_852_799_744, "told for a moment that is still to come"


def test_ping_and_silence(make: Make) -> None:
    board = make()
    board.tick(100)
    assert heard(board, 300, frame(host.PING, b"\x34\x12\0")) == [(host.PING, b"\x34\x12\1")]
    assert heard(board, 400, frame(host.PING, b"\x34\x12\1")) == []
    board.tick(1000)
    assert board.state()["silence"] == 600


def test_log_lines_are_cut_between_characters(make: Make) -> None:
    board = make()
    board.tick(9)
    assert board.log(3, "x" * 53 + "\u00e4bc")
    assert heard(board, 9) == [(host.LOG, struct.pack("<BI", 3, 9) + b"x" * 53)]


def test_a_line_that_is_full_gets_the_rest_later(make: Make) -> None:
    board = make()
    welcome(board)
    put(board, 1)
    board.room(5)
    out = board.tick(1)
    assert len(out) == 5
    assert board.state()["idle"] == 0
    assert not board.log(1, "no room for this")
    board.room(1)
    out += board.tick(2)
    board.room(1000)
    out += board.tick(3)
    assert board.state()["idle"] == 1
    assert seqs(list(host.read(out))) == [0]
    assert out.count(0) == 2
    assert heard(board, 202) == [], "200 ms after its last byte"
    assert seqs(heard(board, 203)) == [0]


def image(op: int, data: bytes, rest: bytes = b"") -> bytes:
    return frame(host.IMAGE, bytes((op,)) + hashlib.sha256(data).digest()[:4] + rest)


def begin(data: bytes, *, size: int | None = None, version: bytes = b"1.5") -> bytes:
    size = len(data) if size is None else size
    rest = struct.pack("<I", size) + hashlib.sha256(data).digest() + bytes((len(version),)) + version
    return image(0, data, rest)


def standing(board: Board, now_ms: int, data: bytes = b"") -> tuple[int, int]:
    for _ in range(400):
        for kind, payload in heard(board, now_ms, data):
            if kind == host.IMAGE_STATE:
                state, _, offset = struct.unpack("<BII", payload)
                return state, offset
        data = b""
    raise AssertionError("no IMAGE_STATE")


@pytest.mark.parametrize("size", [1, 55, 56, 63, 64, 65, 1000, 5000])
def test_an_image(make: Make, size: int) -> None:
    board = make(frame_in=128)
    welcome(board)
    data = bytes(at * 7 & 255 for at in range(size))
    assert standing(board, 0, begin(data)) == (1, 0)
    offset = 0
    while offset < size:
        part = data[offset : offset + 100]
        chunk = image(1, data, struct.pack("<I", offset) + part)
        offset += len(part)
        assert standing(board, 0, chunk) == (1, offset)
    assert standing(board, 0, chunk) == (1, size), "a repeated chunk is not written again"
    assert standing(board, 0, begin(data)) == (1, size), "an image that was begun goes on where it was"
    state, _ = standing(board, 0, image(2, data))
    if state == 1:
        state, _ = standing(board, 0)
    assert state == 2
    board.tick(0)
    board.tick(0)
    number = struct.unpack("<I", hashlib.sha256(data).digest()[:4])[0]
    assert board.events == ["image 1.5", f"restart {number}"]


def test_an_image_with_a_wrong_hash_is_not_run(make: Make) -> None:
    board = make(frame_in=128)
    welcome(board)
    data = b"firmware"
    standing(board, 0, begin(data))
    assert standing(board, 0, image(2, data)) == (1, 0), "not all of it is here"
    assert standing(board, 0, image(1, data, struct.pack("<I", 1) + b"x")) == (1, 0), "out of place"
    assert standing(board, 0, image(1, data, struct.pack("<I", 0) + b"firmwary!")) == (1, 0), "too long"
    standing(board, 0, image(1, data, struct.pack("<I", 0) + b"firmwary"))
    state, _ = standing(board, 0, image(2, data))
    if state == 1:
        state, _ = standing(board, 0)
    assert state == 3
    board.tick(0)
    assert board.events == ["image 1.5"]
    assert standing(board, 0, image(3, data)) == (0, 8)
    assert standing(board, 0, begin(data, size=1 << 20)) == (4, 0)
    assert standing(board, 0, begin(data, size=0)) == (5, 0)
