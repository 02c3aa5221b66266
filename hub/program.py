"""The command ``phloem hub``: the server's flags and files, with a listener for leafnodes and room for a fleet."""

from typing import TYPE_CHECKING

from phloem.hub.profile import DEFAULTS, LISTENER, for_fleet
from phloem.shared.server.options import Options
from phloem.shared.server.profile import STORE, describe
from phloem.shared.server.program import Product

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

ABOUT = (
    "Run the hub that edges link to: a NATS server with a listener for leafnodes. Programs subscribe here to "
    "what all edges publish, and publish what edges and their devices should hear."
)

EXAMPLE = """\
    server_name: hub
    listen: "0.0.0.0:4222"              # for programs
    http: "127.0.0.1:8222"              # /leafz shows the edges; off unless given

    authorization {                     # programs
      users: [
        { user: app, password: "secret", permissions: { subscribe: ">", publish: "*.*.set" } }
      ]
    }

    leafnodes {
      listen: "0.0.0.0:7422"            # for edges; the default
      authorization {                   # edges
        users: [ { user: edge, password: "secret" } ]
      }
    }
"""

LESSON = f"""\
Example configuration, hub.conf:
{EXAMPLE}
    phloem hub                                  # without a file: programs on 4222, edges on 7422
    phloem hub -c hub.conf -t                   # is the file right?
    phloem hub -c hub.conf                      # run
    curl 127.0.0.1:8222/leafz                   # which edges are linked?

    phloem edge --help shows the other end of the link.

Defaults that differ from phloem server, and why:
{describe([LISTENER, *DEFAULTS, STORE])}"""


def make(options: Options) -> "Server":
    """The hub, imported when it is to run."""
    from phloem.hub.app import Hub  # noqa: PLC0415  (keeps --help and -t quick)

    return Hub(options)


HUB = Product("hub", ABOUT, for_fleet, make, LESSON)
