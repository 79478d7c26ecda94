"""Start a platform's containers at once, by testcontainers, and wait until each says that it is ready."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import docker
from docker.errors import DockerException
from docker.types import LogConfig
from requests.exceptions import RequestException
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget

from tracelab.errors import InfrastructureError, TracelabError
from tracelab.runtimes.containers import engine, label
from tracelab.runtimes.containers.spec import Spec
from tracelab.runtimes.containers.table import Row

_POLL_S: Final = 0.1
_CRASHES: Final = 5  # so often may it end and be started again before it counts as broken
_LINES: Final = 8
_LOG: Final = LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"})

OnState = Callable[[str, str], None]


class Ask(WaitStrategy):
    """Wait until an instance answers its own question, or is broken, or nobody waits any more."""

    def __init__(self, spec: Spec, *, deadline: float, is_over: threading.Event) -> None:
        super().__init__()
        self._spec = spec
        self._deadline = deadline
        self._is_over = is_over

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Ask until the deadline.

        Raises:
            InfrastructureError: it ended too often, or was not ready in time; with its last lines.
        """
        wrapped = container.get_wrapped_container()
        while not self._is_over.is_set():
            why = asyncio.run(self._spec.question.why_not(timeout_s=2.0))
            if why is None:
                return
            wrapped.reload()
            crashes, state = wrapped.attrs["RestartCount"], wrapped.attrs["State"]
            if crashes >= _CRASHES or state["Status"] in ("exited", "dead"):
                raise _failed(wrapped, f"{self._spec.instance} did not start: it ended with {state['ExitCode']}")
            if time.monotonic() > self._deadline:
                raise _failed(wrapped, f"{self._spec.instance} was not ready in time; {why}")
            self._is_over.wait(_POLL_S)


def _failed(container: Any, message: str) -> InfrastructureError:
    lines = container.logs(tail=_LINES).decode(errors="replace").splitlines()
    return InfrastructureError(message + "".join(f"\n  | {line}" for line in lines), hint="tracelab up")


def start(
    client: docker.DockerClient,
    specs: Sequence[Spec],
    *,
    network: str,
    prefix: str,
    labels: Mapping[str, str],
    timeout_s: float,
    on_state: OnState,
) -> list[Row]:
    """Start everything, and return the rows once all are ready. `on_state` is called in this thread.

    Raises:
        InfrastructureError: the first that failed says why; the caller removes what was started.
    """
    _make_volumes(client, specs, prefix, labels)
    options = engine.options_of(client)
    is_over = threading.Event()
    deadline = time.monotonic() + timeout_s
    heard: queue.SimpleQueue[Future[Row] | tuple[str, str]] = queue.SimpleQueue()

    def launch(spec: Spec) -> Row:
        heard.put((spec.instance, "starting"))
        row = _start(options, spec, Ask(spec, deadline=deadline, is_over=is_over), network, prefix, labels)
        heard.put((spec.instance, "healthy"))
        return row

    rows: list[Row] = []
    with ThreadPoolExecutor(len(specs) or 1) as pool:
        try:
            for spec in specs:
                pool.submit(launch, spec).add_done_callback(heard.put)
            while len(rows) < len(specs):
                message = heard.get()
                if isinstance(message, Future):
                    rows.append(message.result())
                else:
                    on_state(*message)
        except (DockerException, RequestException) as cause:
            raise engine.explain(cause) from cause
        finally:
            is_over.set()
    return sorted(rows, key=lambda row: [spec.instance for spec in specs].index(row.instance))


def _start(options: dict[str, Any], spec: Spec, ask: Ask, network: str, prefix: str, labels: Mapping[str, str]) -> Row:
    container = DockerContainer(spec.image, docker_client_kw=options)
    client = container.get_docker_client().client
    try:
        container.with_name(f"{prefix}-{spec.instance.replace('#', '-')}").waiting_for(ask)
        container.with_envs(**spec.environment)
        if not spec.is_entry:
            container.with_command(list(spec.command))
        for volume, path in spec.volumes.items():
            container.with_volume_mapping(f"{prefix}-{volume}", path, "rw")
        for path, text in spec.files.items():
            container.with_copy_into_container(text.encode(), path)
        for inside, port in spec.published.items():
            # testcontainers' type knows numbers only; the engine's library takes an address with it.
            container.ports[inside] = ("127.0.0.1", port)  # type: ignore[assignment]
        endpoint = client.api.create_endpoint_config(ipv4_address=spec.address)
        container.with_kwargs(
            network=network,
            networking_config={network: endpoint},
            labels=_labels_of(spec, labels),
            restart_policy={"Name": "on-failure"},
            stop_signal=spec.stop_signal,
            log_config=_LOG,
            extra_hosts={engine.THIS_MACHINE: "host-gateway"},
            security_opt=["no-new-privileges"],
            **({"entrypoint": list(spec.command)} if spec.is_entry else {}),
        )
        container.start()
        return Row(
            instance=spec.instance,
            component=spec.component,
            kind=spec.kind,
            container=container.get_container_id(),
            port=spec.question.port,
            question=spec.question,
        )
    except TracelabError:
        raise
    finally:
        client.close()


def _labels_of(spec: Spec, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        **labels,
        label.COMPONENT: spec.component,
        label.INSTANCE: spec.instance,
        label.KIND: spec.kind,
        label.PORTS: ",".join(map(str, spec.published.values())),
    }


def _make_volumes(client: docker.DockerClient, specs: Sequence[Spec], prefix: str, labels: Mapping[str, str]) -> None:
    """Make the volumes ourselves: those that the engine makes by the way carry no label."""
    for volume in sorted({volume for spec in specs for volume in spec.volumes}):
        kept = {label.DATA: "yes"} if volume.startswith("data-") else {}
        client.volumes.create(f"{prefix}-{volume}", labels={**labels, **kept})
