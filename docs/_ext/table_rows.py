r"""Let the first cell of a row have several lines in a simple table.

reStructuredText begins a new row with each line that has text in the first column.  So a long
first cell would become several rows with borders between them.  A row is joined with the one above
if

* its other cells are empty,
* the first cell above ends with a comma, or
* its own first cell begins with an escaped space, ``\ like this``.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.transforms import Transform


class JoinRows(Transform):
    """Join the rows of each table."""

    default_priority = 410

    def apply(self, **kwargs: Any) -> None:
        """Join them in place."""
        for body in self.document.findall(nodes.tbody):
            above: nodes.row | None = None
            for row in list(body.findall(nodes.row)):
                if above is not None and _continues(above, row):
                    _join(above, row)
                    body.remove(row)
                else:
                    above = row


def _continues(above: nodes.row, row: nodes.row) -> bool:
    if len(above) != len(row) or not row[0].astext():
        return False
    if not any(cell.astext() for cell in row[1:]):
        return True
    marked = row[0].children[0].rawsource.startswith("\\ ")
    return marked or above[0].astext().endswith(",")


def _join(above: nodes.row, row: nodes.row) -> None:
    for cell, more in zip(above, row, strict=True):
        for block in list(more.children):
            last = cell[-1] if len(cell) else None
            if isinstance(last, nodes.paragraph) and isinstance(block, nodes.paragraph):
                last += [nodes.Text(" "), *block.children]
            else:
                cell += block


def setup(app: Any) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(JoinRows)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
