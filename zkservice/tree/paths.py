"""Names and paths of nodes, as `zkservice.znodes` has them."""

from __future__ import annotations

from zkservice.znodes import join, name_problem, normalize, split

__all__ = ["join", "name_problem", "normalize", "split"]
