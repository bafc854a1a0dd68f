"""The command that draws: services and their links, in Graphviz's language or as a picture."""

from __future__ import annotations

import os
import shutil

from twisted.internet.utils import getProcessOutputAndValue

from zkservice.cli.context import Context, Exit, write_whole
from zkservice.cli.options import GraphOptions
from zkservice.cli.tree_commands import parse_text
from zkservice.errors import ConfigurationError
from zkservice.tree import TreeNode
from zkservice.tree.graph import get_edges, to_dot
from zkservice.treesync import read_named_tree

#: Extensions of files that hold the graph as text.
_TEXT = (".dot", ".gv", ".txt")


async def graph(context: Context, options: GraphOptions) -> Exit:
    """Show or draw which services use which."""
    terminal = context.terminal
    edges = get_edges(await _tree(context, options))
    if options.json:
        terminal.out_json(edges)
        return Exit.DONE
    dot, name = to_dot(edges), options.output
    if name is None or name == "-" or name.endswith(_TEXT):
        context.write_text(name, dot)
        return Exit.DONE
    picture = await _draw(context, dot, name)
    try:
        write_whole(name, picture)
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from None
    terminal.note(f"drew {len(edges):,} link{'' if len(edges) == 1 else 's'} to {name}")
    return Exit.DONE


async def _tree(context: Context, options: GraphOptions) -> TreeNode:
    """The tree in a file or, if there is a path too, on a server."""
    source, path = options.source, options.path
    if source is not None and path is not None:
        async with context.connected(source, options) as zk:
            tree = await read_named_tree(zk.client, path)
        return tree
    if source not in (None, "-") and not os.path.exists(str(source)):
        raise ConfigurationError(
            f"{source}: there is no such file; for a server add a path, such as /"
        )
    return parse_text(*context.read_text(source), "/")


async def _draw(context: Context, dot: str, name: str) -> bytes:
    """Have Graphviz draw a graph, in the format that the name ends with."""
    kind = os.path.splitext(name)[1][1:]
    program = shutil.which("dot", path=context.terminal.environ.get("PATH"))
    if program is None:
        raise ConfigurationError(
            "pictures are drawn by Graphviz's program dot, which is not installed; "
            "with -o FILE.dot the graph is written as text"
        )
    if not kind.isalnum():
        raise ConfigurationError(f"{name}: end it with .svg, .png or .dot")
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
