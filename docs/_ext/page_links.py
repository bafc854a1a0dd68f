"""Let pages link to each other by file name.

``discovery.rst`` links to ``formats.rst`` by that name, so that the link also works where the
page is read as a file.  On the site it has to lead to the built page, and a link to a file outside
docs to the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.logging import getLogger

_log = getLogger(__name__)


class PageLinks(SphinxTransform):
    """Turn links to files into links to pages."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Rewrite each relative link of the page."""
        for node in list(self.document.findall(nodes.reference)):
            target, _, fragment = node.get("refuri", "").partition("#")
            if target and ":" not in target and not target.startswith("/"):
                self._rewrite(node, target, fragment)

    def _rewrite(self, node: nodes.reference, target: str, fragment: str) -> None:
        source = Path(self.env.srcdir)
        page = (Path(self.env.doc2path(self.env.docname)).parent / target).resolve()
        if page.suffix == ".rst" and page.is_relative_to(source):
            docname = str(page.relative_to(source).with_suffix(""))
            node.replace_self(self._page_reference(node, docname, fragment))
        elif page.exists():
            inside = page.relative_to(source.parent)
            node["refuri"] = f"{self.config.page_links_repository}/blob/main/{inside}"
        else:
            _log.warning("there is no %s", target, location=node)

    def _page_reference(self, node: nodes.reference, docname: str, fragment: str) -> nodes.Node:
        if fragment and docname in self.env.found_docs:
            uri = self.app.builder.get_relative_uri(self.env.docname, docname)
            return nodes.reference(
                "", "", *node.children, refuri=f"{uri}#{fragment}", internal=True
            )
        return pending_xref(
            "",
            nodes.inline("", "", *node.children),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{docname}",
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_config_value(
        "page_links_repository", "https://github.com/zkservice/zkservice", "env", str
    )
    app.add_transform(PageLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
