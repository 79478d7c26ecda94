"""Scenarios run as many people: open and closed model, the Locust worker, raw samples."""
