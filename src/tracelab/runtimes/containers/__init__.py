"""The platform in containers: one per instance, on a network of their own, started by testcontainers."""
