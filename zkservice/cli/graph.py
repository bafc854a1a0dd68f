"""The command that draws: services and their links, in Graphviz's language or as a picture."""

from __future__ import annotations

import os
import shutil

from twisted.internet.utils import getProcessOutputAndValue

from zkservice.cli.context import Context, Exit, write_whole
from zkservice.cli.tree_commands import parse_text
from zkservice.errors import ConfigurationError
from zkservice.tree import Node
from zkservice.tree.graph import get_edges, to_dot
from zkservice.treesync import read_named_tree
from zkservice.zookeeper import default_connection_string

#: Endings of names of files that hold the graph's text itself.
_TEXT = (".dot", ".gv", ".txt")


async def graph(context: Context) -> Exit:
    """Show or draw which services use which."""
    options, terminal = context.options, context.terminal
    edges = get_edges(await _tree(context))
    if options.json:
        terminal.out_json(edges)
        return Exit.DONE
    dot, name = to_dot(edges), options.output
    if name in (None, "-") or name.endswith(_TEXT):
        context.write_text(name, dot)
        return Exit.DONE
    picture = await _draw(context, dot, os.path.splitext(name)[1][1:])
    try:
        write_whole(name, picture)
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from None
    terminal.note(f"drew {len(edges):,} link{'' if len(edges) == 1 else 's'} to {name}")
    return Exit.DONE


async def _tree(context: Context) -> Node:
    """The tree of a file, or, with two words, of a server."""
    first, second = context.options.source, context.options.path
    if second is None:
        if first not in (None, "-") and not os.path.exists(first):
            raise ConfigurationError(
                f"{first}: there is no such file; for a server add a path, such as /"
            )
        return parse_text(*context.read_text(first), "/")
    environ = context.terminal.environ
    context.options.hosts = default_connection_string(environ) if first == "-" else first
    async with context.connected() as zk:
        tree = await read_named_tree(zk.client, second)
        return tree


async def _draw(context: Context, dot: str, kind: str) -> bytes:
    """What Graphviz makes of a graph."""
    program = shutil.which("dot", path=context.terminal.environ.get("PATH"))
    if program is None:
        raise ConfigurationError(
            "pictures are drawn by Graphviz's program dot, which is not installed; "
            "with -o FILE.dot the graph is written as text"
        )
    if not kind.isalnum():
        raise ConfigurationError(f"{context.options.output}: end it with .svg, .png or .dot")
    out, err, code = await getProcessOutputAndValue(
        program,
        [f"-T{kind}"],
        env=dict(os.environ),
        reactor=context.reactor,
        stdinBytes=dot.encode(),
    )
    if code != 0:
        raise ConfigurationError(f"dot failed: {err.decode(errors='replace')[:300]}")
    return bytes(out)
