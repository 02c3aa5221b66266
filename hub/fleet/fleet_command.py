"""The command ``phloem fleet``: what the hub knows of its devices, and what it wants of them.

Sub-commands are in files of their own and imported when they are used.
"""

from importlib import import_module

import click

SUBCOMMANDS = {  # name: (module, attribute, one line for --help)
    "setup": ("phloem.hub.fleet.twin_commands", "setup", "Make the buckets of twins at the hub."),
    "command": ("phloem.hub.fleet.twin_commands", "command", "Give a device a command."),
    "commands": ("phloem.hub.fleet.twin_commands", "commands", "What has become of a device's commands."),
}


class Subcommands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of use."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if name not in SUBCOMMANDS:
            return None
        module, attribute, _ = SUBCOMMANDS[name]
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in SUBCOMMANDS.items()])


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
def fleet() -> None:
    """Devices of a hub: commands, and what has become of them."""
