"""Objectives, statistics, verdicts; pure arithmetic."""
