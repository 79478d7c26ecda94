"""Fixtures and contract suites that we ship, and use."""
