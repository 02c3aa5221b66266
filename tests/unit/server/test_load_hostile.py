"""Files that are nearly right: whatever stands where, it is read, or refused with a ConfigError."""

import copy
import random
from pathlib import Path
from typing import Any

from phloem.shared.errors import ConfigError
from phloem.shared.server.conf import parse_file
from phloem.shared.server.conf.parser import Value
from phloem.shared.server.definitions import definitions
from phloem.shared.server.load import merge, read
from phloem.shared.server.validation import validate
from tests.unit.server import corpus_security as security
from tests.unit.server import corpus_sharing as sharing

TEXTS = [
    *(security.CHECKED, security.STARTS, security.REFUSED_AT_START),
    *(sharing.EXPORTS, sharing.IMPORTS, sharing.MAPPINGS),
]
ODD: list[Any] = [5, -1, 0, 1 << 70, 1.5, True, "", "x", "a.b", "*", ">", "\udc80", "$G", [], {}]
ROUNDS = 1


def mutated(value: Value, rng: random.Random) -> Value:
    """The same with something odd in it, now and then."""
    data: Any = value.data
    if rng.random() < 0.12:
        data = rng.choice([*ODD, [value], {"a": value}])
    elif isinstance(data, dict):
        data = {key: mutated(item, rng) for key, item in data.items() if rng.random() < 0.97}
    elif isinstance(data, list):
        data = [mutated(item, rng) for item in data]
        data += data[:1] if rng.random() < 0.1 else []
    other = copy.copy(value)
    other.data = data
    return other


def test_nothing_but_mistakes_is_raised(tmp_path: Path) -> None:
    rng, file = random.Random(1), tmp_path / "x.conf"
    tops = list[dict[str, Value]]()
    for text in (text for texts in TEXTS for text in texts):
        file.write_text(text)
        try:
            tops.append(parse_file(file))
        except ConfigError:
            continue
    good = 0
    for top in tops * ROUNDS:
        entries = {key: mutated(value, rng) for key, value in top.items()}
        if rng.random() < 0.3:
            entries |= {key: mutated(value, rng) for key, value in rng.choice(tops).items()}
        try:
            options = merge(read(entries, "x.conf"), {})
            validate(options)
            definitions(options)
        except ConfigError:
            continue
        good += 1
    assert 0 < good < len(tops) * ROUNDS
