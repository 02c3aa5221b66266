"""Subjects that clients may not publish to, and ways around that."""

from tests.unit.kernel.rig import Rig


def test_reserved_subject_stays_closed_after_an_answer_to_it(rig: Rig) -> None:
    """A 503 leaves no plan of the reply subject behind for the express lane."""
    peer, watcher = rig.client(no_responders=True), rig.client()
    watcher.say(b"SUB $NRG.x 1\r\n")
    for _ in range(3):
        peer.pub(b"nobody", reply=b"$NRG.x")
    peer.pub(b"$NRG.x")
    assert watcher.take() == b""
    assert peer.take() == b"-ERR 'Permissions Violation for Publish to \"$NRG.x\"'\r\n"
