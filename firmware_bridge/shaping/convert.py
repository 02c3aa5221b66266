"""Units: from what a device measures in to what its users want to read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phloem.firmware_bridge.reading import Reading
from phloem.firmware_bridge.shaping.stage import Stage


class Unit(NamedTuple):
    """In the base unit of its dimension a value is ``factor`` times itself plus ``offset``."""

    dimension: str
    factor: float
    offset: float = 0.0


UNITS: Mapping[str, Unit] = {
    "K": Unit("temperature", 1),
    "Cel": Unit("temperature", 1, 273.15),
    "[degF]": Unit("temperature", 5 / 9, 459.67 * 5 / 9),
    "Pa": Unit("pressure", 1),
    "hPa": Unit("pressure", 100),
    "kPa": Unit("pressure", 1000),
    "mbar": Unit("pressure", 100),
    "bar": Unit("pressure", 100_000),
    "[psi]": Unit("pressure", 6894.757293168),
    "m": Unit("length", 1),
    "um": Unit("length", 1e-6),
    "mm": Unit("length", 1e-3),
    "cm": Unit("length", 1e-2),
    "km": Unit("length", 1000),
    "[in_i]": Unit("length", 0.0254),
    "[ft_i]": Unit("length", 0.3048),
    "[nmi_i]": Unit("length", 1852),
    "m/s": Unit("speed", 1),
    "km/h": Unit("speed", 1 / 3.6),
    "[kn_i]": Unit("speed", 1852 / 3600),
    "[mi_i]/h": Unit("speed", 0.44704),
    "g": Unit("mass", 1e-3),
    "kg": Unit("mass", 1),
    "t": Unit("mass", 1000),
    "[lb_av]": Unit("mass", 0.45359237),
    "L": Unit("volume", 1e-3),
    "mL": Unit("volume", 1e-6),
    "m3": Unit("volume", 1),
    "[gal_us]": Unit("volume", 0.003785411784),
    "W": Unit("power", 1),
    "mW": Unit("power", 1e-3),
    "kW": Unit("power", 1000),
    "J": Unit("energy", 1),
    "W.h": Unit("energy", 3600),
    "kW.h": Unit("energy", 3_600_000),
    "V": Unit("voltage", 1),
    "mV": Unit("voltage", 1e-3),
    "A": Unit("current", 1),
    "mA": Unit("current", 1e-3),
    "uA": Unit("current", 1e-6),
    "Hz": Unit("frequency", 1),
    "kHz": Unit("frequency", 1000),
    "/min": Unit("frequency", 1 / 60),
    "s": Unit("time", 1),
    "ms": Unit("time", 1e-3),
    "min": Unit("time", 60),
    "h": Unit("time", 3600),
    "1": Unit("ratio", 1),
    "%": Unit("ratio", 0.01),
    "[ppm]": Unit("ratio", 1e-6),
    "rad": Unit("angle", 1),
    "deg": Unit("angle", 0.017453292519943295),
}
"""UCUM's spelling (ucum.org), case-sensitive form; the ones that field devices use."""


def converted(value: float, from_unit: str, to_unit: str) -> float:
    """``value`` in another unit of the same dimension.

    Raises:
        KeyError: A unit is not in ``UNITS``.
        ValueError: They are of two dimensions.
    """
    have, want = UNITS[from_unit], UNITS[to_unit]
    if have.dimension != want.dimension:
        raise ValueError(f"{from_unit} is a {have.dimension}, {to_unit} a {want.dimension}")
    return (value * have.factor + have.offset - want.offset) / want.factor


class Convert(Stage):
    """Channels in the units that ``to`` names; a channel whose own unit nobody knows goes on as it is, counted."""

    def __init__(self, to: Mapping[str, str]) -> None:
        super().__init__()
        self._to, self.not_converted = dict(to), 0

    def take(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Reading]:
        """All of them, some in another unit."""
        return [self._one(reading) if reading.channel in self._to else reading for reading in readings]

    def _one(self, reading: Reading) -> Reading:
        wanted, value = self._to[reading.channel], reading.value
        if reading.unit == wanted:
            return reading
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.not_converted += 1
            return reading
        try:
            return reading._replace(value=converted(value, reading.unit, wanted), unit=wanted)
        except (KeyError, ValueError, OverflowError):
            self.not_converted += 1
            return reading
