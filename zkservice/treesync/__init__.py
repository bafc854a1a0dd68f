"""Trees and a server: read one, carry out a plan.

Nothing here waits for one node after the other.  Requests go out as fast as answers
come in, a bounded number at a time, and the server answers them in order.
"""

from zkservice.treesync.bounded_requests import Progress
from zkservice.treesync.import_export import Report, delete_tree, import_tree, read_named_tree
from zkservice.treesync.reading import make_delete_plan, make_import_plan, read_tree, walk
from zkservice.treesync.writing import Outcome, apply_plan

__all__ = [
    "Outcome",
    "Progress",
    "Report",
    "apply_plan",
    "delete_tree",
    "import_tree",
    "make_delete_plan",
    "make_import_plan",
    "read_named_tree",
    "read_tree",
    "walk",
]
