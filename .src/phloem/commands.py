"""All commands of ``phloem`` for click, and ``--version``; imports only the command that is asked for."""

from importlib import import_module

import click

import phloem

# name: (module, attribute, one line for --help)
COMMANDS = {
    "server": ("phloem.shared.server.command", "server", "Run a broker with nats-server's flags and files."),
    "edge": ("phloem.edge.command", "edge", "Run the leaf node of a device."),
    "hub": ("phloem.hub.command", "hub", "Run the hub that edges link to."),
    "init": (
        "phloem.hub.fleet.init_command",
        "init",
        "Make keys, certificates and the configuration of a hub and its devices.",
    ),
    "enroll": ("phloem.hub.fleet.device_commands", "enroll", "Give a device its credentials."),
    "revoke": ("phloem.hub.fleet.device_commands", "revoke", "Take a device's credentials back, at once."),
    "push": ("phloem.hub.fleet.device_commands", "push", "Tell a running hub of all revocations."),
    "devices": ("phloem.hub.fleet.device_commands", "devices", "List the devices that were enrolled."),
    "fleet": (
        "phloem.hub.fleet.fleet_command",
        "fleet",
        "Devices of a hub, live: what is to come, what is missing; and commands for them.",
    ),
    "bridge": ("phloem.firmware_bridge.command", "bridge", "Connect serial devices to any NATS server."),
    "firmware": (
        "phloem.firmware_bridge.images.command",
        "firmware",
        "Put signed firmware into a bucket for boards, and see how far they are.",
    ),
    "install": (
        "phloem.edge.device.install_command",
        "install",
        "Set up phloem as services of systemd, on a device or a hub.",
    ),
    "uninstall": ("phloem.edge.device.install_command", "uninstall", "Remove what install has set up."),
    "doctor": (
        "phloem.edge.device.doctor_command",
        "doctor",
        "Look whether a device is well, and say what to do.",
    ),
    "store": (
        "phloem.shared.server.store_command",
        "store",
        "Check or repair the folder of a server's streams.",
    ),
    "stream": ("phloem.shared.server.stream_command", "stream", "List, back up and restore streams."),
    "demo": ("phloem.edge.demo.command", "demo", "Hub, edge and simulated sensor on this machine, live."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are used, which keeps start-up short."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def version_text() -> str:
    """What ``phloem --version`` prints: the version and whether the compiled kernel is in use."""
    from phloem.shared import kernel  # noqa: PLC0415  (only this option needs it)

    return f"phloem {phloem.__version__}\nkernel: {kernel.BUILD}"


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version_text())
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and how the kernel was built.",
)
def phloem_command() -> None:
    """phloem carries messages from the edge to the hub, in NATS's own protocol."""
