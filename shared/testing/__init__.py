"""Public test kit: a broker on a free port and time that only moves when a test says so.

    async with phloem.shared.testing.server() as broker:
        nc = await broker.connect()

What is imported here is the contract; modules inside may move.
"""

from phloem.shared.testing.broker import server
from phloem.shared.testing.manual_clock import ManualClock

__all__ = ["ManualClock", "server"]
