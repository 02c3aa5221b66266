"""The command ``phloem hub`` for click; see ``program.py``."""

from phloem.hub.program import HUB
from phloem.shared.server.command import ServerCommand

hub = ServerCommand(HUB)
