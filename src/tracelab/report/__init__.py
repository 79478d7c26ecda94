"""A Run's files and findings turned into something read later."""
