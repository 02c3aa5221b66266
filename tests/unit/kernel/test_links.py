"""Leaf links: what they are told, what crosses them."""

from tests.unit.kernel.rig import Rig


def test_longest_subject_crosses_whole(rig: Rig) -> None:
    """65,534 bytes are the longest subject that a control line of 65,536 holds."""
    far, near = rig.leaf(), rig.leaf()
    far.say(b"LS+ >\r\n")
    for length in (65_529, 65_530, 65_534):
        line = b"LMSG %b 0\r\n\r\n" % (b"s" * length)
        near.say(line)
        assert far.take() == line
