"""The compiled hot path: bytes, integers and tables; no policy, no configuration, no logging.

``types.pxd`` is the table of contents. There is no Python twin of the kernel: its reference is the model in
``tests/property``, and a build without a compiler is refused rather than slow.
"""

from typing import TYPE_CHECKING

from phloem.shared.kernel.reactor import (
    BUILD,
    KIND_CLIENT,
    KIND_LEAF,
    Account,
    Connection,
    Kernel,
    Permissions,
)
from phloem.shared.kernel.reasons import Reason

if TYPE_CHECKING:
    from phloem.shared.kernel.reactor import ConnectionStats as ConnectionStats
    from phloem.shared.kernel.reactor import Events as Events
    from phloem.shared.kernel.reactor import Served as Served

__all__ = [
    "BUILD",
    "KIND_CLIENT",
    "KIND_LEAF",
    "Account",
    "Connection",
    "Kernel",
    "Permissions",
    "Reason",
]
