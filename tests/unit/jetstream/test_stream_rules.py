"""Rules of streams that nats-server does not have (the others: tests/conformance)."""

import pytest

from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.stream_rules import ServerLimits, checked


def test_a_first_sequence_that_could_not_be_read_back() -> None:
    at_most = StreamConfig(name="S", subjects=["s"], first_seq=1 << 61)
    assert checked(at_most, ServerLimits(), lambda name: None).first_seq == 1 << 61
    above = StreamConfig(name="S", subjects=["s"], first_seq=(1 << 61) + 1)
    with pytest.raises(ApiError, match="first sequence can not be above"):
        checked(above, ServerLimits(), lambda name: None)
