"""See role.py."""

SHARES = ("inbox", "exporters")
"""Tables this owner has in common with others; see saga.database.migrations."""
