"""The gateway: NGINX on a socket that it inherits, with the configuration rendered from the topology."""

import os
import shutil
import signal
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracelab.platform import gateway, openapi
from tracelab.platform.topology import Topology
from tracelab.runtimes import probe
from tracelab.runtimes.embedded.process import Launcher, Process
from tracelab.runtimes.ports import Ports

if TYPE_CHECKING:  # its library takes a while to import, and few gateways need it
    from tracelab.runtimes.authority import Credentials


class Nginx:
    """A recipe for one gateway."""

    asks_to_end: Final = signal.SIGTERM
    drains: Final = signal.SIGTERM
    kills: Final = signal.SIGKILL

    def __init__(
        self,
        *,
        binary: Path,
        instance: str,
        topology: Topology,
        upstreams: Mapping[str, Sequence[str]],
        folder: Path,
        access_log: Path,
        log: Path,
        ports: Ports,
        launcher: Launcher,
        credentials: "Credentials | None" = None,
    ) -> None:
        self._binary = binary
        self._instance = instance
        self._topology = topology
        self._upstreams = upstreams
        self._folder = folder
        self._access_log = access_log
        self._log = log
        self._ports = ports
        self._launcher = launcher
        self._tls: gateway.Tls | None = None
        self._trust: ssl.SSLContext | None = None
        if credentials is not None:
            self._tls = gateway.Tls(certificate=credentials.certificate, key=credentials.key)
            self._trust = ssl.create_default_context(cafile=credentials.ca)

    async def start(self) -> Process:
        """Render the configuration and start NGINX on a listening socket of ours."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / gateway.SCRIPT_NAME).write_text(gateway.SCRIPT, encoding="utf-8")
        configuration, published = self._folder / "nginx.conf", self._folder / "openapi.json"
        published.write_text(openapi.text(), encoding="utf-8")  # a package may lie where NGINX cannot name it
        configuration.write_text(
            gateway.render(
                self._topology,
                listen=self._ports[self._instance],
                upstreams=self._upstreams,
                folder=self._folder,
                access_log=self._access_log,
                run_as_root=os.geteuid() == 0,
                openapi=published,
                tls=self._tls,
            ),
            encoding="utf-8",
        )
        listener = await self._ports.listen_again(self._instance)
        with listener:
            return self._launcher.start(
                [str(self._binary), "-e", "stderr", "-p", f"{self._folder}/", "-c", str(configuration)],
                log=self._log,
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
            )

    async def empty(self) -> str | None:
        """Remove its folder, whatever it keeps there; `start` makes it anew."""
        shutil.rmtree(self._folder, ignore_errors=True)
        return None

    async def why_not_ready(self, process: Process) -> str | None:  # noqa: ARG002 -- the recipe's signature
        """Ask the gateway's own health path."""
        return await probe.http(self._ports[self._instance], gateway.HEALTH, tls=self._trust)
