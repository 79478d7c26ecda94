"""The platform as a compose file: rendered from the topology, started by a plain compose program."""
