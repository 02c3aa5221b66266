"""Snapshots of nats-server up to 2.14: one that 2.14.6 made, byte by byte, cut off and damaged."""

import io
import random
import struct
import tarfile
from pathlib import Path

import pytest

from phloem.shared.jetstream.archive import ArchiveError, Entry, consumer_of
from phloem.shared.jetstream.archive_tar import Removed, TarReader
from phloem.shared.wire.s2 import Decoder

SAMPLE = Path(__file__).parents[2] / "interop" / "nats_2_14" / "stream.tar.s2"


@pytest.fixture(scope="module")
def sample() -> bytes:
    decoder, out = Decoder(), b""
    decoder.feed(SAMPLE.read_bytes())
    while block := decoder.block():
        out += block
    return out


def taken(data: bytes, step: int, name: str = "B") -> tuple[list[Entry | Removed], bool]:
    reader, found = TarReader(name, 1 << 20), []  # type: ignore[var-annotated]
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        found += list(reader.entries())
    return found, reader.done


@pytest.mark.parametrize("step", [1, 511, 1 << 20])
def test_what_is_in_it(sample: bytes, step: int) -> None:
    found, done = taken(sample, step)
    assert done
    messages = [e for e in found if isinstance(e, Entry) and e.seq]
    gone = {e.seq for e in found if isinstance(e, Removed)}
    assert {m.seq for m in messages} - gone == set(range(2, 60)) - {5, 6}
    assert messages[0].name.startswith(b"b.")
    consumers = dict(consumer_of(e) for e in found if isinstance(e, Entry) and not e.seq)
    assert set(consumers) == {"worker", "idle"}
    assert [one[:2] for one in consumers["worker"].state.outstanding()] == [
        (4, 3),
        *((seq, seq - 3) for seq in range(8, 14)),
    ]
    assert consumers["worker"].config.filter_subject == "b.*"


def test_what_is_cut_off_is_not_done(sample: bytes) -> None:
    for end in range(0, len(sample) - 1024, 997):
        assert not taken(sample[:end], 1 << 20)[1]


def test_what_is_damaged_is_an_error_or_other_content(sample: bytes) -> None:
    rng = random.Random(5)
    refused = 0
    for _ in range(600):
        data = bytearray(sample)
        for _ in range(rng.randrange(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            for one in taken(bytes(data), 4096)[0]:
                if isinstance(one, Entry) and not one.seq:
                    consumer_of(one)
        except ArchiveError:
            refused += 1
    assert refused > 100


def tar(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def record(seq: int, subject: bytes, body: bytes) -> bytes:
    return (
        struct.pack("<IQqH", 22 + len(subject) + len(body) + 8, seq, 9, len(subject))
        + subject
        + body
        + bytes(8)
    )


META = ("meta.inf", b'{"name":"B"}')


def test_a_tombstone_and_an_erased_message() -> None:
    block = record(1, b"s", b"a") + record(2 | 1 << 63, b"s", b"b") + record(1 | 1 << 62, b"", b"")
    assert taken(tar(META, ("msgs/1.blk", block)), 100) == ([Entry(b"s", 9, 1, b"", b"a"), Removed(1)], True)


def test_a_long_name() -> None:
    name = "c" * 150
    state = bytes([22, 2, 0, 0, 0, 0, 0, 0])
    folder = f"obs/{name}"
    found, done = taken(tar(META, (f"{folder}/meta.inf", b"{}"), (f"{folder}/o.dat", state)), 77)
    assert done
    assert consumer_of(found[0])[0] == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"x" * 512, "the tar in the snapshot has an impossible head"),
        (tar(("meta.inf", b'{"name":"C"}')), "stream names do not match"),
        (tar(("meta.inf", b"{")), "error in meta.inf"),
        (tar(META, kind=tarfile.SYMTYPE), "unexpected content"),
        (tar(("errors.txt", b"the disk is bad")), "the snapshot was not completed: the disk is bad"),
        (tar(META, ("msgs/1.blk", record(1, b"s", b"a")[:-1])), '"msgs/1.blk" has an impossible record'),
        (
            tar(META, ("msgs/1.blk", record(1, b"s", b"a") + b"abc")),
            '"msgs/1.blk" ends in the middle of a record',
        ),
        (tar(META, ("msgs/1.blk", b"\xff" * 64)), '"msgs/1.blk" has an impossible record'),
        (
            tar(("obs/c/meta.inf", b"{}"), ("obs/c/o.dat", b"\x16\x01aaaaaa")),
            "a consumer's state is damaged or too old",
        ),
        (
            tar(("obs/c/meta.inf", b"{}"), ("obs/c/o.dat", b"\x16\x02\x01\x01\x01\x01\x09")),
            "a consumer's state is damaged",
        ),
    ],
)
def test_what_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        taken(data, 100)
    assert str(caught.value).startswith(text)
