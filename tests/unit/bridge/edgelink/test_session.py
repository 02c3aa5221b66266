"""A session, step by step, against a board that a test plays, and against one that is simulated."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.edgelink import effects as up
from phloem.firmware_bridge.edgelink import limits, messages
from phloem.firmware_bridge.edgelink.frame import Frame, FrameReader, wrap
from phloem.firmware_bridge.edgelink.messages import Hello, Message, Status
from phloem.firmware_bridge.edgelink.schema import Channel, Dictionary, checksum, encode_channel
from phloem.firmware_bridge.edgelink.sequence import tag_of
from phloem.firmware_bridge.edgelink.session import Session
from phloem.firmware_bridge.edgelink.simulated import SimulatedBoard
from phloem.firmware_bridge.edgelink.twins import Twins

MS, SECOND = limits.MILLISECOND_NS, limits.SECOND_NS
CHANNEL = Channel(1, 4, -1, "temperature", "Cel")
ENTRIES = [encode_channel(CHANNEL)]
HELLO = Hello(b"\xab\xcd", 0xDEADBEEF, 5, 5, 9, 1, 8, 256, 3, checksum(ENTRIES), "fw 1")
TAG = tag_of(HELLO.epoch, HELLO.boot)


class Host:
    """A session at a time that a test moves; what it sends is read back as messages."""

    def __init__(self, *, known: bool = True) -> None:
        schema = Dictionary(ENTRIES)
        self.session = Session(77, {schema.number: schema} if known else {}, 0)
        self.now = 0
        self.done: list[up.Effect] = []

    def hear(self, *heard: Message) -> list[Message]:
        return self._sent(self.session.receive(b"".join(wrap(messages.encode(m)) for m in heard), self.now))

    def wait(self, for_ns: int) -> list[Message]:
        self.now += for_ns
        return self._sent(self.session.expire(self.now))

    def _sent(self, effects: list[up.Effect]) -> list[Message]:
        self.done += [effect for effect in effects if not isinstance(effect, up.Send)]
        reader, sent = FrameReader(), list[Message]()
        for effect in effects:
            if isinstance(effect, up.Send):
                frames = reader.feed(effect.data, 0)
                sent += [messages.decode(frame.plain) for frame in frames if isinstance(frame, Frame)]
        return sent

    def say(self, effects: list[up.Effect]) -> list[Message]:
        return self._sent(effects)

    def answer_clock(self, asked: list[Message], tag: int = TAG) -> list[Message]:
        (question,) = (message for message in asked if isinstance(message, messages.ClockGet))
        return self.hear(messages.Clock(tag, question.token, 1000, 1000))

    def welcome(self, hello: Hello = HELLO, next_: int | None = None) -> list[Message]:
        tag = tag_of(hello.epoch, hello.boot)
        sent = self.answer_clock(self.hear(hello), tag)
        return sent + self.say(self.session.located(hello.uid, hello.epoch, next_, self.now))

    def data(self, seq: int, value: int = 215, tag: int = TAG) -> list[Message]:
        readings = b"\1" + value.to_bytes(2, "little")
        return self.hear(messages.Data(tag, seq & 0xFFFF, 990, readings))

    def taken(self) -> list[int]:
        return [effect.seq for effect in self.done if isinstance(effect, up.Taken)]


def test_asked_each_second_until_somebody_answers() -> None:
    host = Host()
    assert host.wait(0) == [messages.Ask(77)]
    assert host.session.due_ns == SECOND
    assert host.wait(SECOND - 1) == []
    assert host.wait(1) == [messages.Ask(77)]
    host.hear(HELLO)
    assert not any(isinstance(message, messages.Ask) for message in host.wait(2 * SECOND))


def test_welcomed_when_schema_position_and_clock_are_here() -> None:
    host = Host(known=False)
    asked = host.hear(HELLO)
    assert host.done == [up.Locate(HELLO.uid, HELLO.epoch)]
    assert messages.SchemaGet(0) in asked
    host.answer_clock(asked)
    assert host.say(host.session.located(HELLO.uid, HELLO.epoch, 7, 0)) == []
    assert messages.SchemaGet(0) in host.wait(limits.SCHEMA_MIN_NS)  # again
    sent = host.hear(messages.Schema(HELLO.schema, 0, 1, ENTRIES[0]))
    assert sent == [messages.Welcome(77, TAG, 7, 1024)]
    assert host.done[-1] == up.Joined(HELLO)


def test_a_board_that_does_not_tell_its_clock_is_welcomed_a_second_later() -> None:
    host = Host()
    host.hear(HELLO)
    host.say(host.session.located(HELLO.uid, HELLO.epoch, None, 0))
    assert not any(isinstance(message, messages.Welcome) for message in host.wait(SECOND - 1))
    assert messages.Welcome(77, TAG, 5, 1024) in host.wait(1)


def test_acknowledged_only_when_durable() -> None:
    host = Host()
    host.welcome()
    assert host.data(5) == []
    assert host.data(6) == []
    (first, _) = (effect for effect in host.done if isinstance(effect, up.Taken))
    assert (first.seq, first.samples[0].value, first.samples[0].channel.name) == (5, 21.5, "temperature")
    assert host.data(5) == [messages.Ack(TAG, 5, 0b11)]  # sent again: it is here, and not durable
    assert host.say(host.session.durable(HELLO.uid, HELLO.epoch, 6, 0)) == [messages.Ack(TAG, 6, 0b1)]
    assert host.say(host.session.durable(HELLO.uid, HELLO.epoch, 6, 0)) == []
    assert host.say(host.session.durable(HELLO.uid, HELLO.epoch + 1, 9, 0)) == []
    assert host.taken() == [5, 6]


def test_out_of_order_is_held_and_said() -> None:
    host = Host()
    host.welcome()
    assert host.data(7) == [messages.Ack(TAG, 5, 0b100)]
    assert host.data(5) == []
    assert host.data(6) == []
    assert host.taken() == [5, 6, 7]


def test_data_before_a_welcome_is_a_question() -> None:
    host = Host()
    host.now = SECOND
    assert host.data(5) == [messages.Ask(77)]
    assert host.data(6) == []  # asked just now
    assert host.taken() == []


@pytest.mark.parametrize(
    ("most", "size", "said"), [(0, 8, 0), (5, 8, 8), (32, 32, 32), (64, 64, 64), (255, 64, 64)]
)
def test_a_window_as_long_as_both_have(most: int, size: int, said: int) -> None:
    host = Host()
    sent = host.welcome(msgspec.structs.replace(HELLO, most=most))
    assert sent[-1] == messages.Welcome(77, TAG, 5, 1024, said)
    host.now = SECOND
    for seq in range(6, 5 + size):
        (ack,) = host.data(seq)
    assert ack == messages.Ack(TAG, 5, (1 << size) - 2)
    assert host.session.counters.stray == 0
    host.data(5)
    assert host.taken() == list(range(5, 5 + size))
    host.data(5 + 2 * size + 1)
    assert host.session.counters.stray == 1


def test_a_board_that_comes_back_with_another_window() -> None:
    host = Host()
    host.welcome(msgspec.structs.replace(HELLO, most=64))
    again = msgspec.structs.replace(HELLO, boot=HELLO.boot + 1)
    tag = tag_of(again.epoch, again.boot)
    assert host.answer_clock(host.hear(again), tag)[-1] == messages.Welcome(77, tag, 5, 1024)
    host.data(20, tag=tag)
    assert host.session.counters.stray == 1


def test_a_foreign_tag_is_not_this_boards() -> None:
    host = Host()
    host.now = SECOND
    host.welcome()
    assert host.data(5, tag=TAG ^ 1) == [messages.Ask(77)]
    assert host.session.counters.foreign == 1
    assert host.taken() == []


def test_another_board_on_the_line() -> None:
    host = Host()
    host.welcome()
    other = msgspec.structs.replace(HELLO, uid=b"\xee", epoch=3)
    host.welcome(other)
    kinds = [type(effect).__name__ for effect in host.done]
    assert kinds == ["Locate", "Joined", "Left", "Locate", "Joined"]
    assert host.say(host.session.durable(HELLO.uid, HELLO.epoch, 9, 0)) == []


def test_gone_after_three_pings() -> None:
    host = Host()
    host.welcome()
    assert any(isinstance(message, messages.Ping) for message in host.wait(limits.SILENCE_NS))
    host.hear(messages.Ping(1, 1))
    seconds = 0
    while not any(isinstance(effect, up.Left) for effect in host.done):
        host.wait(SECOND)
        seconds += 1
    assert seconds == 8
    assert host.done[-1] == up.Left(HELLO.uid, "silent")
    assert host.wait(SECOND) == [messages.Ask(77)]


def test_frames_that_are_gone_are_named() -> None:
    host = Host()
    sent = host.welcome(next_=2)
    assert messages.Welcome(77, TAG, 2, 1024) in sent
    assert up.Gap(HELLO.uid, HELLO.epoch, 2, 5) in host.done
    host.data(5)
    assert host.say(host.session.durable(HELLO.uid, HELLO.epoch, 6, 0)) == [messages.Ack(TAG, 6, 0)]


def test_the_same_ring_after_a_reset_has_a_new_clock() -> None:
    host = Host()
    host.welcome()
    host.data(5)
    again = msgspec.structs.replace(HELLO, boot=2, fresh=7)
    asked = host.hear(again)
    assert not any(isinstance(message, messages.Welcome) for message in asked)
    assert host.answer_clock(asked, tag_of(again.epoch, 2)) == []
    sent = host.say(host.session.durable(HELLO.uid, HELLO.epoch, 6, 0))
    assert sent == [messages.Welcome(77, tag_of(again.epoch, 2), 6, 1024)]
    host.data(6, tag=tag_of(again.epoch, 2))
    host.data(7, tag=tag_of(again.epoch, 2))
    errors = [effect.error_ns for effect in host.done if isinstance(effect, up.Taken)]
    assert [error is None for error in errors] == [False, True, False]
    assert host.taken() == [5, 6, 7]


def test_a_start_is_not_welcomed_before_what_came_earlier_is_durable_and_what_was_held_is_forgotten() -> None:
    host = Host()
    host.welcome()
    host.data(5, 1)
    host.data(7, 2)  # held, out of order
    again = msgspec.structs.replace(HELLO, boot=2, fresh=5)  # its memory has lost 5, 6 and 7
    tag = tag_of(again.epoch, 2)
    assert host.answer_clock(host.hear(again), tag) == []
    assert host.hear(again) == []
    assert host.say(host.session.durable(HELLO.uid, HELLO.epoch, 6, 0)) == [
        messages.Welcome(77, tag, 6, 1024)
    ]
    host.data(6, 3, tag)
    assert host.taken() == [5, 6], "7 is of the former start"
    host.data(7, 4, tag)
    values = [effect.samples[0].value for effect in host.done if isinstance(effect, up.Taken)]
    assert values == [0.1, 0.3, 0.4]


def test_two_boards_of_one_uid_on_a_line_are_named() -> None:
    host = Host()
    other = msgspec.structs.replace(HELLO, epoch=3, boot=4)
    host.welcome()
    host.welcome(msgspec.structs.replace(HELLO, boot=2))
    host.welcome(other)
    assert not any(isinstance(effect, up.Noticed) for effect in host.done), "resets"
    host.hear(HELLO, other, HELLO)
    assert [effect.text for effect in host.done if isinstance(effect, up.Noticed)] == [
        "two boards on this line say that they are abcd"
    ]


def test_two_boards_of_one_uid_on_two_ports_are_named_and_one_that_moves_is_not() -> None:
    twins = Twins()
    for second, port in enumerate("aabbabbb"):  # moved, with bytes that were under way
        assert twins.heard(b"1", port, second * SECOND) == set()
    for hour, port in enumerate("abababab"):
        assert twins.heard(b"2", port, hour * 3600 * SECOND) == set()
    found = [twins.heard(b"3", port, second * SECOND) for second, port in enumerate("abababab")]
    assert [ports for ports in found if ports] == [{"a", "b"}]


def test_what_cannot_be_read_is_counted_and_passed_over() -> None:
    host = Host()
    host.welcome()
    host.hear(messages.Data(TAG, 5, 0, b"\x09\x01"))
    host.data(6)
    assert host.taken() == [5, 6]
    assert host.session.counters.unreadable == 1
    assert up.Noticed("frame 5 cannot be read: no channel 9") in host.done


def test_a_schema_that_cannot_be_used_is_said_once() -> None:
    bad = [encode_channel(Channel(1, 4, 0, "a.b", ""))]
    hello = msgspec.structs.replace(HELLO, schema=checksum(bad))
    host = Host()
    host.hear(hello)
    host.hear(messages.Schema(hello.schema, 0, 1, bad[0]))
    assert host.hear(hello) == []
    notices = [effect for effect in host.done if isinstance(effect, up.Noticed)]
    assert [notice.text[:26] for notice in notices] == ["its schema cannot be used:"]


def test_text_and_logs() -> None:
    host = Host()
    host.welcome()
    host.say(host.session.receive(b"rebooting\n", 0))
    host.hear(messages.Log(3, 1000, "heiß".encode()))
    assert host.done[-2] == up.Said("rebooting")
    assert isinstance(host.done[-1], up.Said)
    assert (host.done[-1].text, host.done[-1].level) == ("heiß", 3)


def test_a_command_is_repeated_until_it_is_answered() -> None:
    host = Host()
    host.welcome()
    (first,) = host.say(host.session.command(1, "led", b"on", 10 * SECOND, host.now))
    assert first == messages.Cmd(77, 1, 10_000, "led", b"on")
    assert host.say(host.session.command(2, "fan", b"", 0, host.now)) == []  # waits for the first
    again = [m for m in host.wait(limits.COMMAND_MIN_NS) if isinstance(m, messages.Cmd)]
    assert again == [messages.Cmd(77, 1, 9_500, "led", b"on")]
    assert host.hear(messages.Reply(77, 1, Status.BUSY, b"")) == []
    assert host.hear(messages.Reply(77, 2, Status.DONE, b"")) == []  # none of that number yet
    assert host.hear(messages.Reply(77, 1, Status.DONE, b"ok")) == [messages.Cmd(77, 2, 0, "fan", b"")]
    assert host.hear(messages.Reply(77, 1, Status.DONE, b"ok")) == []
    assert host.done[-1] == up.Outcome(1, 0, b"ok")
    host.session.cancel(2, host.now)
    assert not any(isinstance(m, messages.Cmd) for m in host.wait(4 * SECOND))


def test_how_commands_end_without_an_answer() -> None:
    host = Host()
    assert host.session.command(1, "a", b"", 0, 0) == [up.Outcome(1, None, why="no board is there")]
    host.welcome()
    assert host.session.command(2, "a", b"x" * 300, 0, 0) == [
        up.Outcome(2, None, why="too long for the board")
    ]
    host.session.command(3, "a", b"", 2 * SECOND, host.now)
    host.wait(2 * SECOND)
    assert up.Outcome(3, None, why="no answer in time") in host.done
    host.session.command(4, "a", b"", 0, host.now)
    host.hear(msgspec.structs.replace(HELLO, boot=2))
    assert up.Outcome(4, None, why="the board restarted, it may have been done") in host.done
    host = Host()
    host.welcome(msgspec.structs.replace(HELLO, caps=0))
    assert host.session.command(5, "a", b"", 0, 0) == [up.Outcome(5, None, why="the board takes no commands")]


def test_the_time_is_told_with_the_second_question() -> None:
    host = Host()
    host.session.wall_ahead_ns = 1_795_852_800 * SECOND
    asked = host.hear(HELLO)
    assert isinstance(asked[0], messages.ClockGet)
    assert asked[0].known == 0
    host.answer_clock(asked)
    (told,) = (m for m in host.wait(0) if isinstance(m, messages.ClockGet))
    assert (told.known, told.board_ms, told.unix_ms) == (1, 1000, 1_795_852_800_000)


@pytest.mark.parametrize("lossy", [False, True])
def test_an_image_arrives_and_is_proven(lossy: bool) -> None:
    rng, image = Random(4), bytes(range(256)) * 20
    board = SimulatedBoard(b"\1", [CHANNEL], Random(1), 0)
    session = Session(5, {}, 0)
    done: list[up.Effect] = []
    now = 0

    def carry(effects: list[up.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, up.Send):
                if not lossy or rng.random() > 0.2:
                    answer = board.receive(effect.data, now)
                    if not lossy or rng.random() > 0.2:
                        carry(session.receive(answer, now))
            else:
                done.append(effect)
                if isinstance(effect, up.Locate):
                    carry(session.located(effect.uid, effect.epoch, None, now))

    def run(until: type) -> None:
        nonlocal now
        for _ in range(3000):
            if any(isinstance(effect, until) for effect in done):
                return
            now += 100 * MS
            carry(session.expire(now))
            carry(session.receive(board.expire(now), now))
        raise AssertionError(f"no {until.__name__}")

    run(up.Joined)
    carry(session.install(image, "simulated 2", now))
    with pytest.raises(ValueError, match="on its way"):
        session.install(image, "simulated 2", now)
    half = len(image) // 2
    while len(board.image) < half:
        now += 100 * MS
        carry(session.expire(now))
    while up.ImageProgress(len(image), len(image)) not in done:
        now += 100 * MS
        carry(session.expire(now))
    while board._image_state.state != messages.ImageStatus.COMPLETE:
        now += 100 * MS
        carry(session.expire(now))
    assert board.image == image
    board.boot_image(now)
    run(up.ImageEnded)
    assert up.ImageEnded("simulated 2", up.ImageEnd.RUNS) in done
    assert board.firmware == "simulated 2"


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=50),
            st.builds(lambda head, rest: wrap(bytes([0x10 | head]) + rest), st.integers(0, 15), st.binary(max_size=40)),
            st.builds(
                lambda seq, readings: wrap(messages.encode(messages.Data(TAG, seq, 5, readings))),
                st.integers(0, 20),
                st.binary(max_size=8),
            ),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_whatever_a_board_says_nothing_breaks(heard: list[bytes]) -> None:
    host = Host()
    host.welcome()
    for data in heard:
        host.say(host.session.receive(data, host.now))
        assert host.session.due_ns is not None
        host.wait(max(0, host.session.due_ns - host.now))
    here = [effect for effect in host.done if isinstance(effect, up.Taken) and effect.epoch == HELLO.epoch]
    assert [frame.seq for frame in here] == list(range(5, 5 + len(here)))
