"""The command ``phloem server`` for click, and how other products become such; ``program.py`` does the work."""

import click

from phloem.shared.server.program import SERVER, Product, execute


class ServerCommand(click.Command):
    """A click command that leaves its words to ``flags.py``."""

    def __init__(self, product: Product) -> None:
        about = product.about
        super().__init__(product.name, help=about, short_help=about.splitlines()[0], add_help_option=False)
        self.product = product

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words as they are."""
        ctx.args = list(args)
        return ctx.args

    def invoke(self, ctx: click.Context) -> None:
        """Run, and end the process with the command's exit code."""
        ctx.exit(execute(self.product, ctx.args))

    def get_help(self, ctx: click.Context) -> str:
        """The same text as ``--help``."""
        return self.product.usage


server = ServerCommand(SERVER)
