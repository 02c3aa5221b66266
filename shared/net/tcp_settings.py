"""Settings of a TCP socket that say how long a silent peer is believed to be there."""

import socket

from phloem.shared.leaf.tcp import Tuning


def settle(sock: socket.socket, tuning: Tuning) -> None:
    """Applies ``tuning`` to a TCP socket; others are left alone.

    Raises:
        OSError: The connection is over.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if tuning.user_timeout_ms:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, tuning.user_timeout_ms)
    if tuning.idle_s < 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    elif tuning.idle_s:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, tuning.idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, tuning.interval_s)
