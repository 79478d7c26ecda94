"""tracelab boots a real social platform, drives it, harms it, and judges its promises from traces."""

__version__ = "0.1.0"
