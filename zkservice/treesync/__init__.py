"""Read trees from a server, and apply plans to it.

Requests are pipelined: a bounded number is under way at a time, and the server replies in
order.  Nothing waits for one node after the other.
"""

from zkservice.tree.plan import (
    Create,
    Delete,
    Keep,
    KeepReason,
    Plan,
    SetACL,
    SetData,
    Stored,
    Unchanged,
)
from zkservice.tree.plan_text import PlanLine
from zkservice.treesync.bounded_requests import Progress
from zkservice.treesync.import_export import Report, delete_tree, import_tree, read_named_tree
from zkservice.treesync.reading import make_delete_plan, make_import_plan, read_tree, walk
from zkservice.treesync.writing import Outcome, apply_plan

__all__ = [
    "Create",
    "Delete",
    "Keep",
    "KeepReason",
    "Outcome",
    "Plan",
    "PlanLine",
    "Progress",
    "Report",
    "SetACL",
    "SetData",
    "Stored",
    "Unchanged",
    "apply_plan",
    "delete_tree",
    "import_tree",
    "make_delete_plan",
    "make_import_plan",
    "read_named_tree",
    "read_tree",
    "walk",
]
