"""Parse the tree language: lines become nodes, properties and links.

::

    /service : a type              # what follows the colon is the property "type"
      threads = 4                  # a property: a Python literal
      database -> /databases/main  # a symbolic link to a node
      color => /defaults color     # a link to another node's property
      /providers                   # a child

Indentation puts properties and children below their node.  A name with blanks or other
characters that would be misread is quoted like a Python string: ``/"two words"``.  A line
``/`` is the root of the tree, for its properties.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from zkservice.errors import TreeSyntaxError, TreeValueError
from zkservice.properties import Value, encode
from zkservice.tree.loops import loops
from zkservice.tree.model import PROPERTY_LINK, SYMLINK, TreeNode
from zkservice.tree.values import parse_value
from zkservice.znodes import name_problem

#: Bytes of data that a node can have: a server refuses requests over ``jute.maxbuffer``,
#: 1 MiB less one byte, and the request holds the path and the ACL as well.
MAX_DATA: Final = 0xFFFFF - 4096

_QUOTED: Final = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_TYPE: Final = r"(?:\s*:\s*(?P<type>\S.*))?$"
_ROOT: Final = re.compile(r"/(?:\s+:\s*(?P<type>\S.*))?$")
_NODE: Final = re.compile(rf"/(?:(?P<quoted>{_QUOTED})|(?P<name>\S+)){_TYPE}")
# The first operator counts: the value after a "=" may contain "=>" and "->".
_MEMBER: Final = re.compile(
    rf"(?:(?P<quoted>{_QUOTED})|(?P<name>\S+?))\s*(?P<operator>=>|->|=)\s*(?P<rest>.*)$"
)
_TARGET: Final = re.compile(rf"(?:(?P<quoted>{_QUOTED})|(?P<word>\S+))$")
# A path, perhaps the name of a property, and perhaps a second path, which is ignored as in zc.zk.
_LINKED: Final = re.compile(rf"({_QUOTED}|\S+)(?:\s+({_QUOTED}|\S+))?(?:\s+/\S*)?$")
_MAX_BYTES_PER_CHARACTER: Final = 12  # JSON writes an astral character as two \uXXXX


def parse_tree(
    text: str, at: str = "/", *, warn: Callable[[TreeSyntaxError], object] | None = None
) -> TreeNode:
    """Parse a text of the tree language.

    Args:
        text: lines as above, indented with tabs or spaces, but not in an ambiguous mixture.
        at: the path where the tree will be imported; absolute links are resolved from there.
        warn: called with each link that leads in a loop.  Such a tree is valid;
            resolving the link fails with `LinkLoopError`.

    Returns:
        A node without a name, whose children are the nodes at the top of the text.

    Raises:
        TreeSyntaxError: with line and column; also for duplicates, and for data over
            ZooKeeper's limit.
    """
    if not isinstance(text, str):
        raise TypeError(f"a tree is text, not {type(text).__name__}; read or decode it first")
    parser = _Parser()
    for line in _lines(text):
        parser.feed(line)
    parser.check_sizes()
    if warn is not None:
        for error in parser.loops(at):
            warn(error)
    return parser.root


def parse_member(text: str) -> tuple[str, Value]:
    """Parse one line, ``a = 1``, ``l -> /b`` or ``p => /b q``: its stored name and its value.

    Raises:
        TreeSyntaxError: with the column.
    """
    line = _SourceLine(1, "", text.strip())
    match = _MEMBER.match(line.text)
    if match is None or line.text.startswith(("/", "#")):
        raise line.error("write NAME=LITERAL, NAME->PATH or NAME=>PATH")
    return _member(line, match)


class _SourceLine(NamedTuple):
    number: int
    indent: str
    text: str

    def error(self, problem: str, offset: int = 0) -> TreeSyntaxError:
        """An error at an offset of the text."""
        column = len(self.indent) + offset + 1
        return TreeSyntaxError(self.number, column, problem, self.text)


def _lines(text: str) -> Iterator[_SourceLine]:
    """The lines that are neither blank nor comments."""
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.rstrip()
        stripped = line.lstrip()
        if stripped and not stripped.startswith("#"):
            yield _SourceLine(number, line[: len(line) - len(stripped)], stripped)


@dataclass
class _Block:
    """Lines of one indentation: the members of one node."""

    indent: str
    owner: TreeNode
    last_node: TreeNode | None = None  # of its last line; None if that line is a property


@dataclass
class _Source:
    """The line of a node, the rough length of its text, and the lines of its properties."""

    line: _SourceLine
    length: int = 0
    members: dict[str, _SourceLine] = field(default_factory=dict)


class _Parser:
    """Parses line by line; keeps the blocks whose indentation is still open."""

    def __init__(self) -> None:
        self.root = TreeNode()
        self._blocks: list[_Block] = []
        self._sources: dict[int, tuple[TreeNode, _Source]] = {}  # by id: nodes are not hashable

    def feed(self, line: _SourceLine) -> None:
        """Parse one line that is neither blank nor a comment."""
        block = self._block(line)
        if line.text.startswith("/"):
            block.last_node = self._add_node(block, line)
        else:
            self._add_member(block, line)
            block.last_node = None

    def check_sizes(self) -> None:
        """Refuse nodes whose data are too large."""
        for node, source in self._sources.values():
            # encoding is slow, so first check whether the data can be too large at all
            if source.length * _MAX_BYTES_PER_CHARACTER > MAX_DATA:
                size = len(encode(node.properties))
                if size > MAX_DATA:
                    problem = f"the node's data are {size} bytes; ZooKeeper takes {MAX_DATA}"
                    raise source.line.error(problem)

    def loops(self, at: str) -> Iterator[TreeSyntaxError]:
        """Errors with the lines of links that lead in a loop."""
        for loop in loops(self.root, at):
            yield self._sources[id(loop.node)][1].members[loop.name].error(loop.problem)

    def _block(self, line: _SourceLine) -> _Block:
        """The block that the line's indentation puts it in."""
        blocks, indent = self._blocks, line.indent
        if not blocks:
            blocks.append(_Block(indent, self.root))
        elif len(indent) > len(blocks[-1].indent):
            top = blocks[-1]
            if not indent.startswith(top.indent):
                raise line.error("Invalid indentation, tabs and spaces are mixed")
            if top.last_node is None:
                raise line.error("Can't indent under properties")
            blocks.append(_Block(indent, top.last_node))
        while len(blocks) > 1 and len(blocks[-1].indent) > len(indent):
            blocks.pop()
        if len(blocks[-1].indent) != len(indent):
            raise line.error("Invalid indentation")
        if blocks[-1].indent != indent:
            raise line.error("Invalid indentation, tabs and spaces are mixed")
        return blocks[-1]

    def _add_node(self, block: _Block, line: _SourceLine) -> TreeNode:
        match = _ROOT.match(line.text)
        if match is not None:
            return self._add_root(block, line, match["type"])
        match = _NODE.match(line.text)
        if match is None:
            offset = re.match(r"\S+\s*", line.text).end()  # type: ignore[union-attr]
            raise line.error("Unrecognized data", offset)
        name = _name(line, match, 1)
        problem = name_problem(name)
        if problem is not None:
            raise line.error(problem, 1)
        if name in block.owner.children:
            raise line.error("duplicate node", 1)
        node = block.owner.children[name] = TreeNode()
        self._set_source(node, line, match["type"])
        return node

    def _add_root(self, block: _Block, line: _SourceLine, type_: str | None) -> TreeNode:
        if len(self._blocks) > 1:
            raise line.error("a node needs a name after the slash", 1)
        if id(block.owner) in self._sources:
            raise line.error("duplicate node")
        self._set_source(block.owner, line, type_)
        return block.owner

    def _set_source(self, node: TreeNode, line: _SourceLine, type_: str | None) -> None:
        """Keep the line of a node for later errors, and set the type that the line gives."""
        source = _Source(line, len(line.text))
        self._sources[id(node)] = node, source
        if type_ is not None:
            node.properties["type"] = type_
            source.members["type"] = line

    def _add_member(self, block: _Block, line: _SourceLine) -> None:
        match = _MEMBER.match(line.text)
        if match is None:
            raise line.error("Bad link format" if "->" in line.text else "Unrecognized data")
        if block is self._blocks[0]:
            raise line.error("Can't import properties above imported nodes.")
        name, value = _member(line, match)
        if name in block.owner.properties:
            raise line.error("duplicate property")
        block.owner.properties[name] = value
        _, source = self._sources[id(block.owner)]
        source.length += len(line.text)
        source.members[name] = line


def _member(line: _SourceLine, match: re.Match[str]) -> tuple[str, Value]:
    """The stored name and the value of a property or link."""
    name, rest, offset = _name(line, match, 0), match["rest"], match.start("rest")
    if match["operator"] == "->":
        return name + SYMLINK, _symlink_target(line, rest, offset)
    if match["operator"] == "=>":
        linked = _LINKED.match(rest)
        if linked is None:
            raise line.error("Bad link format", offset)
        return name + PROPERTY_LINK, " ".join(word for word in linked.groups() if word)
    return name, _literal(line, rest, offset)


def _symlink_target(line: _SourceLine, text: str, offset: int) -> str:
    target = _TARGET.match(text)
    if target is None:
        raise line.error("Bad link format", offset)
    if target["quoted"] is None:
        return target["word"]
    return str(_literal(line, text, offset))


def _name(line: _SourceLine, match: re.Match[str], offset: int) -> str:
    if match["quoted"] is None:
        return match["name"]
    return str(_literal(line, match["quoted"], offset))


def _literal(line: _SourceLine, text: str, offset: int) -> Value:
    if not text:
        raise line.error("a value is missing", offset)
    try:
        return parse_value(text)
    except TreeValueError as error:
        raise line.error(error.problem, offset + error.offset) from None
