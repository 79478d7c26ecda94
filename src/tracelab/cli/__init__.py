"""Words typed, one call, one rendering; a file per command group."""
