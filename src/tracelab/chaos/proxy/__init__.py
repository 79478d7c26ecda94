"""The edge proxy: a process of its own between two components, with Toxiproxy's API, that harms what passes."""
