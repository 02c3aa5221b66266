"""The command ``phloem edge`` for click; see ``program.py``."""

from phloem.edge.program import EDGE
from phloem.shared.server.command import ServerCommand

edge = ServerCommand(EDGE)
