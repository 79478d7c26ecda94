"""Who sends: the resource of every span, log record and metric of one process."""

from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource

from tracelab.conventions import (
    DEPLOYMENT_ENVIRONMENT,
    PROCESS_BOOT,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One start (`boot`, 8 hex digits) of one instance (``feed#1``) of a service."""

    service: str
    instance: str
    boot: str
    version: str
    environment: str

    def resource(self) -> Resource:
        """Return the OpenTelemetry resource; it is all that we say, so no detectors run."""
        return Resource(
            {
                SERVICE_NAME: self.service,
                SERVICE_VERSION: self.version,
                SERVICE_INSTANCE_ID: self.instance,
                DEPLOYMENT_ENVIRONMENT: self.environment,
                PROCESS_BOOT: self.boot,
            }
        )
