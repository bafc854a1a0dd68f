"""Link an annotation to the page of the public name.

An annotation names the module in which a class is defined, such as ``zkservice.wire.acl.ACL``.  The
reference describes it under the package that exports it, ``zkservice.client.ACL``.  A class that
callers only receive is shown without the arguments of its constructor.
"""

from __future__ import annotations

import builtins
import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_INTERFACE = re.compile(r"<InterfaceClass ([\w.]+)>")
_ANNOTATED = re.compile(r"~?typing\.Annotated\[([\w.~]+), .*?\)\]")

#: Classes that the package creates and callers receive.
_RECEIVED = frozenset(
    (
        "BalancingAgent",
        "Children",
        "EnterDeferred",
        "Lease",
        "Membership",
        "NodeData",
        "Outcome",
        "Participant",
        "PersistentWatch",
        "Properties",
        "QueueItem",
        "Registration",
        "Report",
        "Statistics",
        "Subscription",
        "Transaction",
        "ProviderUse",
        "TryEnterDeferred",
    )
)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Return a link to the public name, or plain text for an internal type."""
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    python = env.domains.python_domain
    public = _public_name(target, list(python.objects))
    if public is not None:
        page = str(node["refdoc"])
        return python.resolve_xref(env, page, app.builder, "obj", public, node, content)
    # The annotations of a named tuple are strings, so they name a type without its module.
    unqualified = node.get("reftype") == "class" and target.isidentifier()
    return content if unqualified or _is_a_type(target) else None


def _public_name(target: str, names: list[str]) -> str | None:
    """Return the full name of what is described: the target, its last names, or its class."""
    parts = target.split(".")
    for wanted in [*(parts[start:] for start in range(len(parts))), parts[-2:-1]]:
        end = "." + ".".join(wanted)
        found = [name for name in names if name.endswith(end)]
        if found:  # of classes with one name, the one of the same package
            return min(found, key=lambda name: (name.split(".")[:2] != parts[:2], len(name)))
    return None


def _is_a_type(target: str) -> bool:
    """Return whether the target is an internal type of ours, or a built-in one."""
    return target.startswith(("zkservice.", "<InterfaceClass ")) or hasattr(
        builtins, target.partition("[")[0]
    )


def shorten_signature(
    app: Sphinx,
    what: str,
    name: str,
    it: Any,
    options: Any,
    arguments: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    """Show interfaces by name and types without their codec; hide what no caller constructs."""
    received = name.rpartition(".")[2] in _RECEIVED or arguments == "(*args, **kwargs)"
    if what == "class" and received:
        return "", None
    return _plain(arguments), _plain(result)


def _plain(text: str | None) -> str | None:
    return text and _INTERFACE.sub(r"\1", _ANNOTATED.sub(r"\1", text)).replace("=<factory>", "={}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the resolver."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", shorten_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
