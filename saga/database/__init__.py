"""The database seam: pools, named statements, migrations."""

from saga.database.migrations import migrate
from saga.database.pool import Connection, connect_pool
from saga.database.statements import Schemas, Statements

__all__ = ["Connection", "Schemas", "Statements", "connect_pool", "migrate"]
