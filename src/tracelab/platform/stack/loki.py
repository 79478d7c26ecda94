"""The log store's configuration: Loki in one process, logs by OTLP, nothing leaves it."""

from typing import Final

import yaml

from tracelab.platform.stack.address import Addresses, port_of

_FOLDER: Final = "/loki"
_GRPC_PORT: Final = 9095


def configuration(addresses: Addresses) -> str:
    """Return the configuration as YAML; a record's trace id is kept as structured metadata, ``trace_id``."""
    document = {
        "auth_enabled": False,
        "server": {
            "http_listen_address": addresses.bind,
            "http_listen_port": port_of(addresses.listen(addresses.logs)),
            "grpc_listen_port": _GRPC_PORT,
            "log_level": "warn",
        },
        "common": {
            "instance_addr": "127.0.0.1",
            "path_prefix": _FOLDER,
            "replication_factor": 1,
            "ring": {"kvstore": {"store": "inmemory"}},
            "storage": {"filesystem": {"chunks_directory": f"{_FOLDER}/chunks", "rules_directory": f"{_FOLDER}/rules"}},
        },
        "schema_config": {
            "configs": [
                {
                    "from": "2024-01-01",
                    "store": "tsdb",
                    "object_store": "filesystem",
                    "schema": "v13",
                    "index": {"prefix": "index_", "period": "24h"},
                }
            ]
        },
        "limits_config": {"allow_structured_metadata": True},
        "analytics": {"reporting_enabled": False},
    }
    return yaml.safe_dump(document, sort_keys=False)
