"""Rows of X: one interface, `Rows`, and a file for each way in which they can lie."""

from sksurvtorch.nets.rows.base import Rows
from sksurvtorch.nets.rows.door import as_rows, find_stored
from sksurvtorch.nets.rows.several import join
from sksurvtorch.nets.rows.spread import pool

__all__ = ["Rows", "as_rows", "find_stored", "join", "pool"]
