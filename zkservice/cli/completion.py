"""``zkservice completion``: a script with which a shell completes the other commands."""

from __future__ import annotations

from argparse import ArgumentParser

from zkservice.cli.context import Context, Exit
from zkservice.cli.options import CompletionOptions


async def completion(context: Context, options: CompletionOptions, parser: ArgumentParser) -> Exit:
    """Print a script that the shell reads when it starts.

    Args:
        parser: of the whole command line.
    """
    from shtab import complete  # only here: no other command needs it

    context.terminal.out(complete(parser, options.shell))
    return Exit.DONE
