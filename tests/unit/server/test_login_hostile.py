"""A thousand who want in and should not: refused, told of once, nothing kept (the fuzzer goes on with others)."""

import random

from tests.fuzz.targets import TARGETS

INPUTS = 300  # of one to six CONNECTs each


def test_malformed_jwts_nkeys_and_connects() -> None:
    target = TARGETS["login"]
    for number in range(INPUTS):
        target.execute(target.make(random.Random(number)))
