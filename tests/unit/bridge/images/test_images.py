"""What an object says, whose signature counts, what is on the disk, and what may be configured."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.bridge.images.rig import KEY, PUBLIC
from tests.unit.bridge.rig import MemoryPublisher

from phloem.firmware_bridge.headers import Encoded
from phloem.firmware_bridge.images.bucket import Bucket, BucketError
from phloem.firmware_bridge.images.manifest import ObjectMeta, parse, target_of
from phloem.firmware_bridge.images.record import Record, State, Target
from phloem.firmware_bridge.images.shelf import Shelf
from phloem.firmware_bridge.images.signature import statement
from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.errors import ConfigError

DATA = b"an image"
SHA = hashlib.sha256(DATA)
TARGET = Target("n1.x", "1.0", len(DATA), SHA.hexdigest())


def meta(key: Ed25519PrivateKey = KEY, uid: str = "", **more: Any) -> ObjectMeta:
    signature = key.sign(statement("pump", uid, "1.0", len(DATA), SHA.hexdigest()))
    headers = {"Phloem-Version": ["1.0"], "Phloem-Signature": [base64.b64encode(signature).decode()]}
    digest = "SHA-256=" + base64.urlsafe_b64encode(SHA.digest()).decode()
    fields: dict[str, Any] = {"nuid": "n1", "size": len(DATA), "digest": digest, "headers": headers} | more
    return ObjectMeta("pump", **fields)


def why(found: ObjectMeta, board: str = "pump", uid: str = "") -> str:
    return target_of(found, board, uid, [Ed25519PrivateKey.generate().public_key(), KEY.public_key()]).refused


def test_a_signed_object() -> None:
    found = target_of(meta(), "pump", "", [KEY.public_key()])
    assert (found.version, found.size, found.sha256, found.refused) == ("1.0", 8, SHA.hexdigest(), "")
    assert found.nuid == "n1"
    assert why(meta()) == ""
    assert why(meta(uid="c0ffee"), uid="c0ffee") == ""


def test_what_is_not_signed_for_this_board() -> None:
    unsigned = "no key that is configured has signed it for this board"
    assert why(meta(Ed25519PrivateKey.generate())) == unsigned
    assert why(meta(), board="valve") == unsigned, "an image of another type of board"
    assert why(meta(), uid="c0ffee") == unsigned
    assert why(meta(size=9)) == unsigned
    assert why(meta(headers={"Phloem-Version": ["1.0"]})) == unsigned
    other = "SHA-256=" + base64.urlsafe_b64encode(bytes(32)).decode()
    assert why(meta(digest=other)) == unsigned


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {}},
        {"headers": {"Phloem-Version": ["1\n2"]}},
        {"digest": "SHA-256=!"},
        {"digest": ""},
        {"options": {"link": {"bucket": "other"}}},
        {"size": 0},
        {"size": 1 << 40},
    ],
)
def test_what_cannot_be_an_image(change: dict[str, Any]) -> None:
    assert "signed" not in why(meta(**change))
    assert why(meta(**change))


def test_what_is_deleted_or_no_object() -> None:
    assert parse(msgspec.json.encode(meta())) is not None
    assert parse(msgspec.json.encode(meta(deleted=True))) is None
    assert parse(b"[]") is None


def test_a_download_that_goes_on_and_what_is_cut_off(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "p")
    assert shelf.load() == Record()
    assert shelf.reached(TARGET, "n1") == (0, 0)
    assert shelf.add(TARGET, "n1", 7, DATA[:3]) == 3
    with (tmp_path / "p" / f"{TARGET.sha256}.part").open("ab") as part:
        part.write(b"never said")  # power went before the number of the chunk was on the disk
    again = Shelf(tmp_path / "p")
    assert again.reached(TARGET, "n2") == (0, 0), "the same bytes, put again: other chunks"
    shelf.add(TARGET, "n1", 7, DATA[:3])
    assert again.reached(TARGET, "n1") == (7, 3)
    again.add(TARGET, "n1", 8, DATA[3:])
    assert again.check(TARGET) == ""
    assert again.image(TARGET).read_bytes() == DATA
    assert again.reached(TARGET, "n9") == (0, len(DATA))


def test_a_file_that_is_not_what_was_signed_is_deleted(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.load()
    shelf.add(TARGET, "n1", 7, DATA[:-1] + b"!")
    assert shelf.check(TARGET) == "its bytes are not the ones that were signed"
    assert shelf.check(TARGET) == "the file is gone"


def test_the_record_names_what_stays(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    other = msgspec.structs.replace(TARGET, sha256="0" * 64)
    for wanted in (TARGET, other):
        shelf.add(wanted, "n1", 1, DATA)
    record = Record(State.FLASHING, TARGET, tries=2)
    shelf.save(record)
    assert shelf.load() == record
    assert {path.stem for path in tmp_path.glob("*.part")} == {TARGET.sha256}
    for bad in ("{", '{"state":"flashing"}', '{"state":"gone"}', "[]"):
        (tmp_path / "record.json").write_text(bad)
        assert shelf.load() == Record(), "the bucket says it all again"


class Store:
    """Chunks of one object, as ``Requests``; ``asked`` are the numbers that were asked from."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answer: bytes | None = None

    def ask(self, messages: Sequence[Encoded], done: Callable[[bytes | None], None]) -> None:
        ((_, _, payload),) = messages
        question = json.loads(payload)
        self.asked.append(question["seq"])
        answer: bytes | None = json.dumps(
            {
                "message": {
                    "subject": question["next_by_subj"],
                    "seq": 9,
                    "data": base64.b64encode(DATA).decode(),
                }
            }
        ).encode()
        asyncio.get_running_loop().call_soon(done, self.answer if self.answer is not None else answer)


async def test_what_a_bucket_answers() -> None:
    store = Store()
    bucket = Bucket(store, "B", "hub")
    chunk = await bucket.chunk("n1", 7)
    assert chunk is not None
    assert (chunk.seq, chunk.data, store.asked) == (9, DATA, [8])
    store.answer = b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
    assert await bucket.chunk("n1", 7) is None
    for bad in (
        b"",
        b"nonsense",
        b"{}",
        b'{"message":{"seq":1,"data":"!"}}',
        b'{"error":{"err_code":10059}}',
    ):
        store.answer = bad
        with pytest.raises(BucketError):
            await bucket.chunk("n1", 7)


GOOD: dict[str, object] = {"board": "pump", "keys": [PUBLIC], "state_dir": "/var/lib/x", "tool": ["true"]}


def test_what_may_be_configured() -> None:
    SerialSettings(device="/dev/x", subject="s", images=GOOD)
    SerialSettings(
        device="/dev/x",
        subject="s",
        protocol="edgelink",
        images={k: v for k, v in GOOD.items() if k != "tool"},
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"board": "a b"}, "board"),
        ({"keys": []}, "nobody vouches"),
        ({"keys": ["AAAA"]}, "not 32 bytes"),
        ({"bucket": "a.b"}, "bucket"),
        ({"state_dir": "here"}, "absolute"),
        ({"tool": []}, "tool is missing"),
        ({"tool": ["x", "{prt}"]}, "{prt}"),
        ({"limit": "soon"}, "limit"),
        ({"look": "1ms"}, "look"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_may_not(change: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match="images: ") as caught:
        SerialSettings(device="/dev/x", subject="s", images=GOOD | change)
    assert text in str(caught.value)


def test_a_bridge_with_images_needs_requests() -> None:
    from phloem.firmware_bridge.bridge import Bridge
    from phloem.shared.clock import SystemClock

    port = SerialSettings(device="/dev/x", subject="s", images=GOOD)
    with pytest.raises(ConfigError, match="JetStream"):
        Bridge([port], MemoryPublisher(), SystemClock(), Random(1))
