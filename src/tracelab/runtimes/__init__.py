"""Start and stop a Topology; one runtime per folder."""
