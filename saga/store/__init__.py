"""The orchestrator's tables."""

SHARES = ("exporters",)
"""Tables this owner has in common with others; see saga.database.migrations."""
