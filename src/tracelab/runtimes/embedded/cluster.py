"""Prepared PostgreSQL data folders: one template per version and method, and spare copies to take by rename.

``initdb`` costs most of a second and a copy of 976 files some tenths; a rename costs nothing. Spares
are made at low priority once a platform is up. The template's superuser has a password of its own, in
a file in the data folder, which the first start replaces.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tracelab.runtimes.embedded.identity import Identity
from tracelab.runtimes.embedded.process import Launcher
from tracelab.runtimes.embedded.table import IS_LINUX
from tracelab.runtimes.postgresql import DATABASE, DROPPED, INITDB, SINGLE, STATEMENTS, has_statements

PASSWORD_FILE = "tracelab.superuser"
_LAYOUT = 3  # what a template is like; count up when that changes


class Clusters:
    """The cache of prepared data folders for one version and one way of running PostgreSQL."""

    def __init__(self, cache: Path, *, version: str, identity: Identity, launcher: Launcher, log: Path) -> None:
        self._folder = cache / f"postgres-{version}-{identity.method}-{_LAYOUT}"
        self._identity = identity
        self._launcher = launcher
        self._log = log
        self.environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}

    async def take(self, data: Path) -> None:
        """Put a fresh data folder at `data`: a spare one, else a copy of the template, else the work of initdb."""
        for spare in sorted(self._folder.glob("spare-*")):
            with contextlib.suppress(FileNotFoundError):
                spare.rename(data)
                return
        template = await self._template()
        await self._copy(template, data)

    async def make_spares(self, count: int) -> None:
        """Copy the template until there are `count` spares, at low priority."""
        template = await self._template()
        for _ in range(count - len(list(self._folder.glob("spare-*")))):
            making = self._making()
            try:
                await self._copy(template, making, is_urgent=False)
                making.rename(self._folder / f"spare-{secrets.token_hex(4)}")
            finally:
                shutil.rmtree(making, ignore_errors=True)

    def _making(self) -> Path:
        return self._folder / f"making-{os.getpid()}-{secrets.token_hex(4)}"

    async def _copy(self, source: Path, target: Path, *, is_urgent: bool = True) -> None:
        copy = ["cp", "-a", *(["--reflink=auto"] if IS_LINUX else []), str(source), str(target)]
        nice = [] if is_urgent else ["nice", "-n", "19"]
        await self._launcher.run([*nice, *copy], log=self._log, cwd=self._folder, env=self.environment, timeout_s=120.0)

    async def _template(self) -> Path:
        template = self._folder / "template"
        if template.is_dir():
            return template
        _make_reachable(self._folder, self._identity)
        async with _locked(self._folder / "lock"):
            if not template.is_dir():
                self._sweep()
                making = self._making()
                try:
                    await self._initdb(making)
                    making.rename(template)
                finally:
                    shutil.rmtree(making, ignore_errors=True)
        return template

    async def _initdb(self, making: Path) -> None:
        password = self._folder / f"{making.name}.password"
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as out:
                out.write(secrets.token_hex(16))
            _make_owned(making, password, self._identity.owner)
            await self._launcher.run(
                [str(self._identity.binary.with_name("initdb")), "-D", str(making), *INITDB, f"--pwfile={password}"],
                log=self._log,
                cwd=self._folder,
                env=self.environment,
                before_exec=self._identity.enter,
            )
            await self._launcher.run(
                [str(self._identity.binary), "--single", "-D", str(making), *SINGLE, DATABASE],
                log=self._log,
                cwd=self._folder,
                env=self.environment,
                text=DROPPED + (STATEMENTS if has_statements(self._identity.binary) else ""),
                before_exec=self._identity.enter,
            )
            password.rename(making / PASSWORD_FILE)
        finally:
            password.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what makers left that were killed."""
        for left in self._folder.glob("making-*"):
            with contextlib.suppress(ValueError, IndexError):
                if not _is_alive(int(left.name.split("-")[1])):
                    if left.is_dir():
                        shutil.rmtree(left, ignore_errors=True)
                    else:
                        left.unlink(missing_ok=True)


def _make_owned(data: Path, password: Path, owner: int | None) -> None:
    data.mkdir(mode=0o700)
    if owner is not None:
        os.chown(password, owner, -1)
        os.chown(data, owner, -1)


def _make_reachable(folder: Path, identity: Identity) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if identity.owner is not None:
        for each in (folder, folder.parent):
            each.chmod(0o755)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock between platforms that boot side by side, without blocking the loop."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
