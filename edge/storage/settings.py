"""Whether the ``disk`` block of a configuration can work."""

from phloem.shared.errors import ConfigError
from phloem.shared.server.options import Options

GENERATIONS_LEAST = (
    16  # of the journal: three are files, four may be under way, and something has to be stored
)


def check(options: Options, generation_bytes: int) -> None:
    """Raises ConfigError for what cannot work."""
    disk = options.disk
    least = GENERATIONS_LEAST * generation_bytes
    if 0 < disk.budget < least:
        raise ConfigError(f"disk: a budget of {disk.budget} bytes is too small, at least {least} are needed")
    if disk.budget > 0 and disk.reserve > disk.budget // 4:
        raise ConfigError(f"disk: a reserve of {disk.reserve} bytes is more than a quarter of the budget")
    if disk.budget < -1 or disk.free_floor < -1 or disk.reserve < -1:
        raise ConfigError("disk: budget, free_floor and reserve are bytes")
