"""What a device, or a hub, may say that is not in its interest, or not in that of others: single cases; the fuzzer's
targets ``device`` and ``hub`` have the rest."""

import random

import pytest
import zstandard

from phloem.hub.collect.expand import Dictionaries
from phloem.shared.forward.hub_stream import NotUnderstood, info_of, origin_of
from phloem.shared.forward.identity import Record
from phloem.shared.forward.messages import (
    VERSION,
    Epoch,
    Hello,
    Malformed,
    Offer,
    Parcel,
    Welcome,
    decode,
    encode_parcel,
    ident_of,
)
from phloem.shared.forward.receiver import Answer, Broken, Event, Receiver, Stored
from phloem.shared.limits import FORWARD_CLOCKS, FORWARD_DICTIONARIES


class Pairs:
    """A store without a disk."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.kept[key] = value

    def delete(self, key: bytes) -> None:
        self.kept.pop(key, None)


def trained(seed: int) -> bytes:
    r = random.Random(seed)
    samples = [b'{"device":%d,"v":%d}' % (seed, r.randrange(1000)) * 3 for _ in range(300)]
    return zstandard.train_dictionary(512, samples, level=1).as_bytes()


class TestDictionaries:
    def test_nobody_gives_another_ones_number_to_something_else(self) -> None:
        """Devices share them: whoever could would spoil what others send."""
        dictionaries, mine = Dictionaries(Pairs()), trained(1)  # type: ignore[arg-type]
        with pytest.raises(Broken, match="another number"):
            dictionaries.add(ident_of(mine), trained(2), "A/evil")
        assert not dictionaries.has(ident_of(mine))

    def test_what_is_none_is_refused_before_it_is_kept(self) -> None:
        pairs = Pairs()
        with pytest.raises(Broken, match="no dictionary"):
            Dictionaries(pairs).add(ident_of(b"x" * 9), b"x" * 9, "A/dev1")  # type: ignore[arg-type]
        assert pairs.kept == {}

    def test_a_device_that_sends_one_after_the_other_keeps_the_latest(self) -> None:
        pairs = Pairs()
        dictionaries, data = Dictionaries(pairs), trained(1)  # type: ignore[arg-type]
        for i in range(FORWARD_DICTIONARIES):
            data = data + b"%d" % i
            dictionaries.add(ident_of(data), data, "A/dev1")
        assert len(pairs.kept) == FORWARD_DICTIONARIES + 1
        newer = data + b"more"
        dictionaries.add(ident_of(newer), newer, "A/dev1")
        dictionaries.add(ident_of(newer), newer, "A/dev1")
        assert len(pairs.kept) == FORWARD_DICTIONARIES + 1
        assert dictionaries.has(ident_of(newer))
        assert not dictionaries.has(ident_of(trained(1) + b"0"))


class Taking:
    """A sink that takes everything but what is in ``refused``."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused
        self.records: dict[str, Record] = {}

    def __getattr__(self, _: str):  # type: ignore[no-untyped-def]
        return lambda *_: None

    def keep(self, name: str, record: Record) -> None:
        self.records[name] = record

    def store(self, _offer: Offer, parcel: Parcel, *_: object) -> Stored:
        count = parcel.next_seq - parcel.from_seq - len(self.refused)
        return Stored(count, 0, self.refused, parcel.next_seq)

    def expand(self, parcel: Parcel, *_: object) -> bytes:
        return parcel.columns


def offer(number: int = 0, name: str = "tele", epochs: tuple[Epoch, ...] = (Epoch(70, 1),)) -> Offer:
    return Offer(number, name, "", 7, epochs, 1, 5, 0)


def welcomed(receiver: Receiver, *offers: Offer) -> Welcome:
    effects = receiver.received(Hello(VERSION, "dev1", 5, 1, 0, offers), 1, 1)
    answers = [decode(one.data) for one in effects if isinstance(one, Answer)]
    assert isinstance(answers[0], Welcome)
    return answers[0]


def test_a_stream_that_is_offered_twice_has_one_lane() -> None:
    receiver = Receiver("dev1", "hub", Taking())
    places = welcomed(receiver, offer(0), offer(1), offer(1, "alarm"), offer(0, "alarm")).places
    assert [(place.number, place.refused) for place in places] == [(0, ""), (1, "offered twice")]
    assert receiver.look_again() == []


def test_thousands_of_messages_that_never_fit_are_one_gap() -> None:
    sink = Taking(*range(1, 5_000), 6_000)
    receiver = Receiver("dev1", "hub", sink)
    welcomed(receiver, offer())
    effects = receiver.received(Parcel(0, 5, 1, 0, 0, 1, 7_000, b""), 2, 2)
    assert [one.text[:20] for one in effects if isinstance(one, Event)] == ["5000 messages are lo"]
    record = sink.records["tele"]
    assert [gap[:3] for gap in record.gaps] == [(1, 4_999, 4_999), (6_000, 6_000, 1)]
    assert record.missing == 5_000


def test_the_clocks_of_all_epochs_hold_and_few_are_written_with_each_parcel() -> None:
    epochs = tuple(Epoch(100 + i, 1 + i, 1, 0, 10**9 * i, 9) for i in range(2 * FORWARD_CLOCKS))
    sink = Taking()
    receiver = Receiver("dev1", "hub", sink)
    welcomed(receiver, offer(epochs=epochs))
    receiver.received(Parcel(0, 5, 1, 0, 0, 1, 2, b""), 2, 2)
    assert len(sink.records["tele"].clocks) == FORWARD_CLOCKS
    assert receiver.lanes[0].clocks == epochs


@pytest.mark.parametrize("at", range(1, 5))
def test_a_number_has_room_in_an_answer(at: int) -> None:
    numbers = [0, 1, 1, 0, 0, 1, 2]
    numbers[at] = 1 << 65
    with pytest.raises(Malformed):
        decode(encode_parcel(Parcel(*numbers, b"")))


@pytest.mark.parametrize("kind", [b"H", b"W", b"S", b"N"])
def test_what_is_no_utf8_is_not_understood(kind: bytes) -> None:
    with pytest.raises(Malformed):
        decode(kind + b"\x93\x01\xa2\xc3\x28\x05")
    with pytest.raises(NotUnderstood):
        info_of(b'{"created":"\xff"}')


def test_a_session_that_is_over_takes_nothing() -> None:
    receiver = Receiver("dev1", "hub", Taking())
    welcomed(receiver, offer())
    receiver.received(Parcel(0, 5, 9, 0, 0, 1, 2, b""), 2, 2)  # out of order
    effects = receiver.received(Parcel(0, 0, 1, 0, 0, 1, 2, b""), 2, 2)
    assert [one.data[:1] for one in effects if isinstance(one, Answer)] == [b"N"]


@pytest.mark.parametrize("seq", ["9" * 5_000, str(1 << 63), "-1", "x", ""])
def test_a_sequence_that_no_stream_has_is_nobodys(seq: str) -> None:
    assert origin_of(b"NATS/1.0\r\nPhloem-Origin: s.e %b 7 ?\r\n\r\n" % seq.encode()) == ("", "", 0)
