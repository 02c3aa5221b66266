"""The ``phloem`` command: hands its words to click (``commands.py``), or a server's words to the server.

It stands above every layer, which is why it lives beside ``__init__`` and not in a package. Called
under the name ``nats-server`` (a link is enough) it behaves as ``phloem server``, so that scripts
and test suites that start ``nats-server`` start phloem instead.

What runs for years is started without click, and without what it would never use (``shared/server/lean.py``).
"""

import os
import sys
from importlib import import_module

from phloem.shared.net.notify import extend_until_taken

SERVERS = {  # name: module and attribute
    "server": ("phloem.shared.server.program", "SERVER"),
    "edge": ("phloem.edge.program", "EDGE"),
    "hub": ("phloem.hub.program", "HUB"),
}


def main() -> None:
    """Entry point of the console script."""
    if os.path.basename(sys.argv[0]) == "nats-server":
        sys.argv[1:1] = ["server"]
    if len(sys.argv) > 1 and sys.argv[1] in SERVERS:
        extend_until_taken()
        sys.exit(_serve(*SERVERS[sys.argv[1]], sys.argv[2:]))
    if sys.argv[1:2] == ["bridge"] and {"-c", "--config"} & {word.partition("=")[0] for word in sys.argv[2:]}:
        extend_until_taken()
        from phloem.edge.device.bridge_service import main as serve_ports  # noqa: PLC0415

        sys.exit(serve_ports(sys.argv[2:]))
    from phloem.commands import phloem_command  # noqa: PLC0415

    phloem_command(prog_name="phloem")


def _serve(module: str, attribute: str, words: list[str]) -> int:
    from phloem.shared.server import lean  # noqa: PLC0415

    lean.hashes_without_openssl()
    from phloem.shared.server.program import execute  # noqa: PLC0415

    try:
        return execute(getattr(import_module(module), attribute), words)
    except BrokenPipeError:  # of a pager that has been left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    main()
