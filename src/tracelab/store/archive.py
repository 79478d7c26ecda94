"""A Run as one file: ``RUN.tar.zst`` or ``RUN.tar.gz``, written and read as a stream.

An archive is somebody else's until it is proven to be a Run: nothing of it lands outside of a folder of its own, only
plain files and folders are taken, and their number and sizes are bounded, whatever its headers say.
"""

import contextlib
import gzip
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import zstandard

from tracelab.errors import InfrastructureError, UsageError
from tracelab.store.run import Run

_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_ENDINGS = (".tar.zst", ".tar.gz")
_NAME_LIMIT = 100
_DEPTH_LIMIT = 8
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an archive may unpack to."""

    size_bytes: int = 16 << 30
    files: int = 100_000
    spare_bytes: int = 256 << 20  # left free on the disk


BOUNDS = Bounds()


def export(run: Run, target: Path) -> int:
    """Write a Run's folder as one file, whole or not at all; return its size in bytes.

    Raises:
        UsageError: the name ends in neither ``.tar.zst`` nor ``.tar.gz``, or the file exists.
        InfrastructureError: it cannot be written.
    """
    if not target.name.endswith(_ENDINGS):
        raise UsageError(
            f"{target}: expected a name that ends in {' or '.join(_ENDINGS)}",
            hint=f"tracelab runs export {run.id} {run.id}.tar.zst",
        )
    if target.exists():
        raise UsageError(f"{target} exists", hint=f"tracelab runs export {run.id} {run.id}-again{_ending(target)}")
    making = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with (
            making.open("xb") as out,
            _packing(out, target) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            tar.add(run.folder, arcname=run.id, filter=_anonymous)
        making.rename(target)
    except OSError as cause:
        raise InfrastructureError(
            f"{target} cannot be written: {cause.strerror or cause}", hint="choose a folder that you can write"
        ) from cause
    finally:
        making.unlink(missing_ok=True)
    return target.stat().st_size


def _ending(path: Path) -> str:
    return next((e for e in _ENDINGS if path.name.endswith(e)), _ENDINGS[0])


@contextlib.contextmanager
def _packing(out: IO[bytes], target: Path) -> Iterator[IO[bytes]]:
    if target.name.endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6) as packed:
            yield packed  # type: ignore[misc]  # a GzipFile writes bytes
    else:
        with zstandard.ZstdCompressor(level=6).stream_writer(out, closefd=False) as packed:
            yield packed


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Take plain files and folders, without saying who we are."""
    if not (member.isreg() or member.isdir()) or member.name.endswith("/.lock"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def import_(source: Path, runs: Path, bounds: Bounds = BOUNDS) -> Run:
    """Unpack a Run below `runs` and return it; on failure nothing is left.

    Raises:
        UsageError: it is no archive of a Run, one of a later version, one that is here already, or one that
            would write elsewhere or more than the bounds allow.
        InfrastructureError: the disk refuses.
    """
    making = runs / f".importing-{secrets.token_hex(4)}"
    try:
        with _opened(source) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            making.mkdir(parents=True)
            name = _unpack(tar, making, source, bounds)
        unpacked = Run.open(making / name)
        if unpacked.id != name:
            raise UsageError(f"{source}: the folder {name} holds a Run that calls itself {unpacked.id}")
        target = runs / name
        if target.exists():
            raise UsageError(f"run {name} is here already", hint=f"tracelab runs rm {name}, then import it again")
        (making / name).rename(target)
        return Run.open(target)
    except (tarfile.TarError, zlib.error, EOFError, zstandard.ZstdError, gzip.BadGzipFile) as cause:
        raise UsageError(f"{source} is not a whole archive: {cause}", hint="export it again") from None
    except (TypeError, KeyError, ValueError, AttributeError) as cause:
        raise UsageError(f"{source}: its run.json is not one of a Run: {cause}", hint="export it again") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as cause:
        raise UsageError(f"{source}: it holds {Path(cause.filename).name!r} twice", hint="export it again") from None
    except OSError as cause:
        raise InfrastructureError(
            f"cannot import {source}: {cause.strerror or cause}", hint="free some space, or look whether it is readable"
        ) from cause
    finally:
        shutil.rmtree(making, ignore_errors=True)


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """Open an archive by what it is, not by what it is called."""
    try:
        file = source.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"there is no archive {source}", hint="tracelab runs import FILE.tar.zst") from None
    with file:
        head = file.read(len(_ZSTD))
        file.seek(0)
        if head.startswith(_ZSTD):
            # Frames that ask for a window of gigabytes are refused by the library's own limit.
            with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as packed:
                yield packed
        elif head.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file, mode="rb") as packed:
                yield packed  # type: ignore[misc]  # a GzipFile reads bytes
        else:
            raise UsageError(f"{source} is neither zstd nor gzip", hint="tracelab runs export last run.tar.zst")


def _unpack(tar: tarfile.TarFile, folder: Path, source: Path, bounds: Bounds) -> str:
    """Write what the archive holds below `folder`; return the one folder that everything is in."""
    top, left_bytes, count = "", bounds.size_bytes, 0
    for member in tar:
        parts = _parts(member, source)
        if top and parts[0] != top:
            raise UsageError(f"{source}: expected one Run, seen {top} and {parts[0]}")
        top = parts[0]
        count += 1
        left_bytes -= member.size
        if count > bounds.files or left_bytes < 0:
            raise UsageError(
                f"{source}: it would unpack to more than {bounds.files} files or {bounds.size_bytes >> 20} MB"
            )
        if member.size > shutil.disk_usage(folder).free - bounds.spare_bytes:
            raise InfrastructureError(
                f"{source}: {member.name} ({member.size >> 20} MB) does not fit on the disk", hint="free some space"
            )
        target = folder.joinpath(*parts)
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        packed = tar.extractfile(member)
        if packed is None:
            raise UsageError(f"{source}: {member.name} has no content")
        with packed, target.open("xb") as out:
            shutil.copyfileobj(packed, out, _COPY_BYTES)
    if not top:
        raise UsageError(f"{source} is empty", hint="export it again")
    return top


def _parts(member: tarfile.TarInfo, source: Path) -> tuple[str, ...]:
    """Return the names on a member's path.

    Raises:
        UsageError: it is no plain file or folder, or would land elsewhere.
    """
    parts = PurePosixPath(member.name).parts
    is_inside = (
        0 < len(parts) <= _DEPTH_LIMIT
        and not member.name.startswith("/")
        and all(p != ".." and len(p) <= _NAME_LIMIT and p.isprintable() and "\\" not in p for p in parts)
        and not parts[0].startswith(".")
    )
    if not is_inside or not (member.isreg() or member.isdir()) or member.issparse():
        raise UsageError(f"{source}: {member.name!r} is not a file or folder of a Run; nothing was imported")
    return parts
