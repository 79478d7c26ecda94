"""The telemetry stack around a platform: which components, and their configuration, rendered from code.

Pure functions: nothing here starts anything. A runtime takes `stack` and starts what it returns.
"""
