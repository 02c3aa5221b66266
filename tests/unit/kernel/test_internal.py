"""What the server itself publishes and subscribes to."""

import gc
import os

import pytest

from phloem.shared.kernel import Kernel
from tests.unit.kernel.rig import Recorder, Rig

Heard = list[tuple[bytes, bytes, bytes, bytes]]


@pytest.mark.parametrize("where", ["subject", "reply"])
def test_too_long_to_publish(rig: Rig, where: str) -> None:
    """Composing has room for the longest control line; what the server makes up itself is checked."""
    peer = rig.client()
    peer.say(b"SUB > 1\r\n")
    names = {"subject": b"a", "reply": b"r"}
    for length in (65_001, 400_000):
        names[where] = b"x" * length
        with pytest.raises(ValueError, match="too long"):
            rig.kernel.publish(rig.account, names["subject"], names["reply"], b"NATS/1.0\r\n\r\n", b"")
    names[where] = b"x" * 65_000
    assert rig.kernel.publish(rig.account, names["subject"], names["reply"], b"h", b"b") == 1
    assert peer.take() == b"HMSG %b 1 %b 1 2\r\nhb\r\n" % (names["subject"], names["reply"])


@pytest.mark.parametrize("subject", [b"", b"a..b", b".a", b">.a", b"x" * 65_001])
def test_no_subject_to_subscribe_to(rig: Rig, subject: bytes) -> None:
    with pytest.raises(ValueError, match="subject"):
        rig.kernel.subscribe(rig.account, subject, None, None)
    assert rig.account.stats["subscriptions"] == 0


def test_what_the_server_hears(rig: Rig) -> None:
    heard: Heard = []
    ident = rig.kernel.subscribe(rig.account, b"s.*", None, lambda *message: heard.append(message))
    peer = rig.client()
    peer.pub(b"s.a", b"body", b"r")
    peer.say(b"HPUB s.b 3 5\r\nh\r\nbo\r\n")
    assert heard == [(b"s.a", b"r", b"", b"body"), (b"s.b", b"", b"h\r\n", b"bo")]
    rig.kernel.unsubscribe(ident)
    peer.pub(b"s.a")
    assert len(heard) == 2


def test_one_failing_callback_keeps_no_other_from_hearing(rig: Rig) -> None:
    heard: Heard = []

    def fail(*_: bytes) -> None:
        raise LookupError("no such thing")

    rig.kernel.subscribe(rig.account, b"s", None, fail)
    rig.kernel.subscribe(rig.account, b"s", None, lambda *message: heard.append(message))
    with pytest.raises(LookupError):
        rig.client().pub(b"s")
    assert len(heard) == 1


def test_answer_from_within_a_callback(rig: Rig) -> None:
    kernel, account = rig.kernel, rig.account

    def answer(subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        kernel.publish(account, reply, b"", b"", b"yes")

    kernel.subscribe(account, b"s", None, answer)
    peer = rig.client()
    peer.say(b"SUB r 1\r\n")
    peer.pub(b"s", reply=b"r")
    assert peer.take() == b"MSG r 1 3\r\nyes\r\n"


def test_kernel_that_is_dropped_without_closing_leaves_no_descriptor(rig: Rig) -> None:
    before = os.listdir("/proc/self/fd")
    kernel = Kernel(Recorder(), seed=1)
    kernel.account("A")
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    del kernel
    gc.collect()
    assert os.listdir("/proc/self/fd") == before
