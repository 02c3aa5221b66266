"""A message that has been checked and may be stored."""

from typing import NamedTuple

from phloem.shared.jetstream.headers import Wishes


class Prepared(NamedTuple):
    """As it will be in the log, and what else has to happen."""

    subject: bytes
    header: bytes
    payload: bytes
    wishes: Wishes
    ttl: int  # nanoseconds; 0: none, NEVER
    rollup: bytes  # "sub", "all" or nothing
