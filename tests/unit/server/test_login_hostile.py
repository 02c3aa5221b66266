"""Hundreds who want in and should not: refused, told of once, nothing kept (the fuzzer goes on with others)."""

import random

import pytest

from tests.fuzz.targets import TARGETS
from tests.support.sampling import rest

INPUTS, SAMPLE = 300, 60  # of one to six CONNECTs each


@pytest.mark.parametrize("inputs", [SAMPLE, rest(INPUTS)])
def test_malformed_jwts_nkeys_and_connects(inputs: int) -> None:
    target = TARGETS["login"]
    for number in range(inputs):
        target.execute(target.make(random.Random(number)))
