"""The typed contract of tls.pyx, which has no more for Python: where OpenSSL's functions are."""

from collections.abc import Mapping

FUNCTIONS: tuple[str, ...]

def use(table: Mapping[str, int]) -> None:
    """Takes the addresses of OpenSSL's functions, by name as in ``FUNCTIONS``. Raises KeyError if one is missing."""
