"""What devices say: JSON of 100 bytes from a few sensors whose values wander."""

from collections.abc import Iterator
from random import Random

SIZE = 100
SENSORS = ("boiler", "pump", "tank", "roof")


def readings(count: int, seed: int = 1, start_ms: int = 1_780_000_000_000) -> Iterator[tuple[str, bytes]]:
    """Subject and payload."""
    rng = Random(seed)
    state = {sensor: [20.0 + i, 45.0, 1013.0] for i, sensor in enumerate(SENSORS)}
    for i in range(count):
        sensor = SENSORS[i % len(SENSORS)]
        values = state[sensor]
        for j, step in enumerate((0.05, 0.2, 0.1)):
            values[j] += rng.uniform(-step, step)
        t, h, p = values
        stamp = start_ms + i * 250 + rng.randrange(40)
        text = (
            f'{{"ts":{stamp},"id":"{sensor}","t":{t:.3f},"h":{h:.2f},"p":{p:.2f},'
            f'"bat":{3.3 - i * 1e-7:.3f},"q":"good","n":{i}}}'
        )
        yield f"tele.{sensor}", text.ljust(SIZE).encode()
