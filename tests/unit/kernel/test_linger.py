"""Looking for what follows before the loop sleeps: nothing is lost by it, and a look in vain ends."""

import socket

from phloem.shared.kernel import KIND_CLIENT, Kernel
from tests.unit.kernel.rig import MS, Recorder


def connected(kernel: Kernel, cid: int) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    kernel.attach(ours.detach(), KIND_CLIENT, cid, kernel.account("$G"), 0)
    return theirs


def test_everything_is_served_and_the_tick_returns() -> None:
    kernel = Kernel(Recorder(), seed=1)
    kernel.set_limits(linger_ns=1 * MS)
    with connected(kernel, 1) as receiver, connected(kernel, 2) as sender:
        receiver.send(b"SUB a 1\r\n")
        kernel.tick(1)
        assert receiver.recv(100) == b"+OK\r\n"
        for number in range(40):  # found at the first look, at every sixteenth, and without one
            sender.send(b"PUB a 2\r\n%02d\r\n" % number)
            kernel.tick(2)
            assert receiver.recv(100) == b"MSG a 1 2\r\n%02d\r\n" % number
        kernel.tick(3)  # nothing at all is there
    kernel.close()
