"""Trees, names and values for hypothesis to make up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from zkservice.tree.model import TreeNode
from zkservice.znodes import name_problem

_TRICKY = st.sampled_from(
    [
        *("=", "=>", "->", "#", ":", " : ", "/", "'", '"', "\\", " ", "\t", "\n", "u'", "-", ">"),
        *(
            "a",
            "x ->",
            "y =>",
            "type",
            "string_value",
            "../b",
            "/b c",
            "\u2028",
            "\xa0",
            "\U0001f600",
        ),
    ]
)

#: Text with everything in it that the grammar gives a meaning.
texts = st.one_of(st.text(max_size=8), st.lists(_TRICKY, max_size=5).map("".join))

#: Names that ZooKeeper takes.
node_names = texts.filter(lambda name: name_problem(name) is None)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    texts,
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
member_names = st.one_of(
    texts, texts.map(lambda text: text + " ->"), texts.map(lambda text: text + " =>")
)
properties = st.dictionaries(member_names, values, max_size=4)


def nodes(children: st.SearchStrategy[dict[str, TreeNode]]) -> st.SearchStrategy[TreeNode]:
    """Nodes over these children."""
    return st.builds(TreeNode, properties, children)


trees: st.SearchStrategy[TreeNode] = st.recursive(
    nodes(st.just({})),
    lambda inner: nodes(st.dictionaries(node_names, inner, max_size=3)),
    max_leaves=5,
)
