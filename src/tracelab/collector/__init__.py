"""Receive OTLP, StatsD and access logs, account for every span, flush on demand."""
