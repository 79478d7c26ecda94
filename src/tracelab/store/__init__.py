"""Span, metric and log tables of a Run on disk, and readers of other people's traces."""
