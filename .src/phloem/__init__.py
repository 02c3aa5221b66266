"""phloem: a NATS-compatible messaging system for the edge.

``phloem.Server`` embeds a broker in an asyncio program (see ``phloem.shared.server.server``). It is
imported on first use, so that ``import phloem`` stays cheap for tools that only want the version.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phloem.shared.server.server import Server as Server

__version__ = "0.4.0"
__all__ = ["Server", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Server":
        from phloem.shared.server.server import Server  # noqa: PLC0415  (deferred, see above)

        return Server
    raise AttributeError(f"module 'phloem' has no attribute {name!r}")
