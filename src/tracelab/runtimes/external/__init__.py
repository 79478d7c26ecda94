"""A platform that somebody else started: reached by its URLs, never started, harmed or stopped."""
