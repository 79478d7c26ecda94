"""Faults, plans, the undo ledger; promises as data."""
