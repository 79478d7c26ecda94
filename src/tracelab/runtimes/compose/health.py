"""Health checks that ask the real thing, in its own protocol, from inside its container.

Our image asks by `tracelab.runtimes.ask`; another image that took its place has no such thing, and is asked by what its
makers put into it. An engine's health checks cost time beside what is measured: who is not ready yet is asked every
second, who was ready once is asked rarely. (An engine that knows ``start_interval`` would do that by itself; the older
compose program refuses a file with that word.)
"""

from typing import Any, Final

from tracelab.platform.stack.address import GRAFANA, PROMETHEUS, STATSD_EXPORTER
from tracelab.platform.topology import Kind
from tracelab.runtimes.containers.spec import Spec

_READY: Final = "/tmp/ready"  # noqa: S108 -- in the container
_PAUSE_S: Final = 15
_SECRET: Final = '"$TRACELAB_PASSWORD"'
_THEIRS: Final = {
    Kind.DATABASE.value: "pg_isready -q -h 127.0.0.1 -p {port} -U {word}",
    Kind.CACHE.value: "{{ valkey-cli -p {port} -a {word} ping || redis-cli -p {port} -a {word} ping; }} | grep PONG",
    Kind.OBJECT_STORE.value: "wget -q -O /dev/null http://127.0.0.1:{port}{word}",
    Kind.GATEWAY.value: "curl -fsS -o /dev/null http://127.0.0.1:{port}{word}",
}
# The other images of the telemetry stack have no shell to ask with.
_WITH_SHELL: Final = (GRAFANA, PROMETHEUS, STATSD_EXPORTER)


def of_ours(spec: Spec, makers: Spec) -> dict[str, Any]:
    """Return the check of a component; `makers` is the same one from its makers' image."""
    test = f"python -m tracelab.runtimes.ask {spec.question.protocol} {spec.port} {_word(spec)}"
    if spec.kind in _THEIRS:
        theirs = _THEIRS[spec.kind].format(port=spec.port, word=_word(makers))
        test = f"if command -v python; then {test}; else {theirs}; fi"
    return _check(test)


def of_stack(spec: Spec) -> dict[str, Any] | None:
    """Return the check of a component of the telemetry stack; None where nothing in its image could ask."""
    if spec.component not in _WITH_SHELL:
        return None
    return _check(f"wget -q -O /dev/null http://127.0.0.1:{spec.port}{_word(spec)}")


def _word(spec: Spec) -> str:
    return _SECRET if spec.question.protocol == "redis" else spec.question.word


def _check(test: str) -> dict[str, Any]:
    return {
        "test": ["CMD-SHELL", f"if [ -e {_READY} ]; then sleep {_PAUSE_S}; fi; {{ {test}; }} && touch {_READY}"],
        "interval": "1s",
        "timeout": f"{_PAUSE_S + 5}s",
        "retries": 3,
        "start_period": "60s",
    }
