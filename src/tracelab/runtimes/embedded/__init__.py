"""Real servers as child processes, from PyPI wheels, without root."""
