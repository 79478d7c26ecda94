"""A Run as one file: it comes back as it was, and an archive that is no Run leaves nothing behind."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tracelab.errors import TracelabError, UsageError
from tracelab.store.archive import BOUNDS, Bounds, export, import_
from tracelab.store.run import VERSION, Run

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished Run with something in every folder."""
    made = Run.create(
        tmp_path / "runs", kind="chaos", scenario="timeline", seed=1, platform="p", runtime="embedded", topology="t"
    )
    (made.spans / "000001.spans").write_bytes(bytes(range(256)) * 500)
    (made.samples / "worker-0.csv").write_text("a,b\n" * 1000, encoding="utf-8")
    made.begin("steady")
    made.finish()
    return made


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, the lock aside."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def file(name: str, content: bytes = b"x", **header: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member with whatever header a test wants."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in header.items():
        setattr(member, key, value)
    return member, content


def archive(path: Path, members: Members) -> Path:
    """Write an archive by hand."""
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return path


def run_json(name: str = "r1", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return the ``run.json`` that makes a folder a Run."""
    document = {
        "id": name,
        "kind": "gate",
        "scenario": "timeline",
        "seed": 1,
        "platform": "p",
        "runtime": "embedded",
        "topology": "t",
        "version": VERSION,
        **fields,
    }
    return file(f"{name}/run.json", json.dumps(document).encode())


@pytest.mark.parametrize("ending", [".tar.zst", ".tar.gz"])
def test_a_run_comes_back_as_it_was(run: Run, tmp_path: Path, ending: str) -> None:
    """Every file and empty folder, in either format, whatever the file is called by then."""
    exported = tmp_path / f"run{ending}"
    assert export(run, exported) == exported.stat().st_size > 0
    renamed = exported.rename(tmp_path / "renamed")
    back = import_(renamed, tmp_path / "elsewhere" / "runs")
    assert back.info == run.info
    assert files(back.folder) == files(run.folder)
    assert (back.folder / "metrics").is_dir()
    assert [p.name for p in (tmp_path / "elsewhere" / "runs").iterdir()] == [run.id]


def test_an_archive_says_nothing_of_who_made_it(run: Run, tmp_path: Path) -> None:
    """No user and no group; the modes are those that anybody would have."""
    (run.folder / "host.json").write_text("{}", encoding="utf-8")
    (run.folder / "host.json").chmod(0o4700)
    export(run, tmp_path / "r.tar.gz")
    with tarfile.open(tmp_path / "r.tar.gz") as tar:
        for member in tar:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mode in (0o644, 0o755)


def test_what_is_there_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    """Neither a file that exists by an export, nor a Run by an import."""
    exported = tmp_path / "r.tar.zst"
    export(run, exported)
    with pytest.raises(UsageError, match="exists"):
        export(run, exported)
    with pytest.raises(UsageError, match="is here already"):
        import_(exported, run.folder.parent)
    assert [p.name for p in run.folder.parent.iterdir()] == [run.id]


def test_an_unknown_ending_names_those_that_are_known(run: Run, tmp_path: Path) -> None:
    """The hint is the command as it should have been typed."""
    with pytest.raises(UsageError, match=r"\.tar\.zst or \.tar\.gz") as refused:
        export(run, tmp_path / "r.zip")
    assert refused.value.hint == f"tracelab runs export {run.id} {run.id}.tar.zst"


HOSTILE: dict[str, Members] = {
    "a path to the parent": [run_json(), file("r1/../../escaped")],
    "an absolute path": [run_json(), file("/tmp/escaped")],
    "a hidden top": [file(".ssh/authorized_keys"), run_json()],
    "a second top": [run_json(), file("escaped/run.json")],
    "a symbolic link": [run_json(), file("r1/spans", b"", type=tarfile.SYMTYPE, linkname="/tmp")],
    "a file through a symbolic link": [
        run_json(),
        file("r1/out", b"", type=tarfile.SYMTYPE, linkname="../.."),
        file("r1/out/escaped"),
    ],
    "a hard link": [run_json(), file("r1/hosts", b"", type=tarfile.LNKTYPE, linkname="/etc/hosts")],
    "a device": [run_json(), file("r1/null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a pipe": [run_json(), file("r1/pipe", b"", type=tarfile.FIFOTYPE)],
    "a name with a control character": [run_json(), file("r1/a\nb")],
    "a path with a backslash": [run_json(), file("r1/..\\escaped")],
    "a path without end": [run_json(), file("r1/" + "/".join("abcdefghij"))],
    "a file twice": [run_json(), file("r1/run.json")],
    "a file as a folder": [run_json(), file("r1/run.json/x")],
    "no Run": [file("r1/notes.txt")],
    "another Run's name": [file("r2/run.json", run_json("r1")[1])],
    "a later format": [run_json(version=VERSION + 1)],
    "a field of another type": [run_json(phases=7)],
    "a field that is missing": [file("r1/run.json", b'{"id": "r1"}')],
    "no object": [file("r1/run.json", b"[]")],
    "no JSON": [file("r1/run.json", b"\xff\xfe")],
    "nothing": [],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_leaves_nothing(tmp_path: Path, members: Members) -> None:
    """It is refused as the reader's business, with nothing written, here or elsewhere."""
    made = archive(tmp_path / "hostile.tar.gz", members)
    runs = tmp_path / "home" / "runs"
    with pytest.raises(TracelabError):
        import_(made, runs)
    assert not list(runs.glob("*"))
    assert {p.name for p in tmp_path.iterdir()} <= {"home", "hostile.tar.gz"}
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize(
    ("bounds", "members"),
    [
        (Bounds(size_bytes=1 << 20), [run_json(), file("r1/big", bytes(2 << 20))]),
        (Bounds(files=10), [run_json(), *(file(f"r1/{i}") for i in range(20))]),
        (Bounds(spare_bytes=1 << 60), [run_json()]),
    ],
    ids=["size", "files", "disk"],
)
def test_an_archive_is_bounded(tmp_path: Path, bounds: Bounds, members: Members) -> None:
    """Two megabytes of zeros in two kilobytes, files without end, a full disk."""
    made = archive(tmp_path / "bomb.tar.gz", members)
    with pytest.raises(TracelabError, match=r"more than|does not fit"):
        import_(made, tmp_path / "runs", bounds)
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    "harm", [lambda b: b[: len(b) // 2], lambda b: b[:200] + bytes(50) + b[250:], lambda _: b"", lambda _: b"a text"]
)
@pytest.mark.parametrize("ending", [".tar.zst", ".tar.gz"])
def test_a_damaged_archive_is_refused(run: Run, tmp_path: Path, ending: str, harm: Callable[[bytes], bytes]) -> None:
    """Cut off, altered, empty, or something else: a message and no traceback."""
    whole = tmp_path / f"r{ending}"
    export(run, whole)
    whole.write_bytes(harm(whole.read_bytes()))
    with pytest.raises(TracelabError):
        import_(whole, tmp_path / "other")
    assert not list(tmp_path.glob("other/*"))


def test_a_window_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """A header that asks for 2 GB of memory is refused before any is taken."""
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "r.tar.zst").write_bytes(packed.compress(bytes(4096)) + packed.flush())
    with pytest.raises(UsageError, match="not a whole archive"):
        import_(tmp_path / "r.tar.zst", tmp_path / "runs", BOUNDS)
