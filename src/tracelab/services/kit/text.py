"""Texts that PostgreSQL can store."""

from typing import Final

STORABLE: Final = r"^[^\x00]*$"
"""What a text from outside must match: any character but NUL, which no ``text`` column takes."""
