"""The sending side: the only importer of the OpenTelemetry SDK."""
