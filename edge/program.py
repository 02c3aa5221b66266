"""The command ``phloem edge``: the server's flags and files, with a device's defaults and serial ports."""

from typing import TYPE_CHECKING

from phloem.edge.forward.settings import check
from phloem.edge.ports import port_settings
from phloem.edge.profile import DEFAULTS, PAUSES, for_device
from phloem.shared.server.options import Options
from phloem.shared.server.profile import STORE, describe
from phloem.shared.server.program import Product

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

ABOUT = (
    "Run the leaf node of a device: a NATS server for the programs on it, a link to the hub, and serial devices "
    "whose lines become messages."
)

EXAMPLE = """\
    server_name: greenhouse-1
    listen: "127.0.0.1:4222"            # for programs on this device

    leafnodes {
      remotes: [ { urls: ["nats-leaf://edge:secret@hub.example.com:7422"] } ]
    }

    jetstream { store_dir: "/var/lib/phloem", domain: greenhouse-1 }

    forward {                           # kept on this disk until it is on the hub's, once
      alarms   { subjects: ["greenhouse-1.alarm.>"], class: alarm }    # go before what waits
      readings { subjects: ["greenhouse-1.climate"], max_bytes: 1GB }  # the hub's FLEET_readings
    }

    serial {
      climate {                         # any name; it is in the Phloem-Port header of each message
        device: "/dev/serial/by-id/usb-Arduino_Uno-if00"
        baud: 115200
        subject: "greenhouse-1.climate"              # each line of the device is published here
        command_subject: "greenhouse-1.climate.set"  # what comes here is written to the device
      }
    }
"""

LESSON = f"""\
Example configuration, edge.conf:
{EXAMPLE}
    phloem bridge --list                        # which serial devices are there?
    phloem edge -c edge.conf -t                 # is the file right?
    phloem edge -c edge.conf                    # run; devices may come and go at any time
    nats -s hub.example.com sub 'greenhouse-1.>'                      # the readings, at the hub
    nats -s hub.example.com sub --stream FLEET_readings --all 'fleet.>'  # with those of a cut link
    nats -s hub.example.com pub greenhouse-1.climate.set $'led on\\n'  # a command, from the hub

    No device at hand? phloem demo shows it on one machine, with a link that is cut.

Defaults that differ from phloem server, and why:
{describe([*DEFAULTS, PAUSES, STORE])}"""


def adjust(options: Options) -> Options:
    """The profile; what serial blocks can say wrong is said here, before anything starts."""
    port_settings(options)
    check(options)
    return for_device(options)


def make(options: Options) -> "Server":
    """The edge, imported when it is to run."""
    from phloem.edge.app import Edge  # noqa: PLC0415  (keeps --help and -t quick)
    from phloem.shared.kernel.reactor import heap_one_arena  # noqa: PLC0415

    heap_one_arena()

    return Edge(options)


EDGE = Product("edge", ABOUT, adjust, make, LESSON)
