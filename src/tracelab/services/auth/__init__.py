"""Accounts, sessions and tokens: who somebody is, and for how long they stay known."""
