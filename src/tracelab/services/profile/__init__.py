"""Profiles and follows: cached lists of ids, and a database read behind a miss."""
