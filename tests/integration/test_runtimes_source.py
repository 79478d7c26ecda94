"""Sources that take the place of an image's: handed out, taken up by a running process, taken back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tracelab
from tracelab.testing.runtime import until

COMPONENT = (sys.executable, "-m", "tracelab.runtimes.containers.component")
# It says which copy of the package it runs from, and waits to be begun anew.
FOLLOWER = """
import pathlib, sys, time
from tracelab.runtimes.containers import source
import tracelab
source.follow(pathlib.Path(sys.argv[1]))
with open(sys.argv[2], "a") as said:
    said.write(f"{tracelab.__file__} {getattr(tracelab, 'MARK', '')}\\n")
time.sleep(120)
"""


@contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process beside the body; it ends by SIGTERM."""
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def test_a_process_follows_the_sources(tmp_path: Path) -> None:
    """It begins anew from the copy, again with what changed, and from its own when the copy is taken back."""
    mounted, copy, said = tmp_path / "mounted", tmp_path / "copy", tmp_path / "said"
    own = Path(tracelab.__file__).parent
    (mounted / "tracelab").mkdir(parents=True)
    copy.mkdir()
    said.touch()
    for path in (own / "__init__.py", own / "errors.py"):
        (mounted / "tracelab" / path.name).write_bytes(path.read_bytes())
    runtimes = mounted / "tracelab" / "runtimes" / "containers"
    runtimes.mkdir(parents=True)
    for path in (own / "runtimes/__init__.py", own / "runtimes/containers/__init__.py"):
        (mounted / path.relative_to(own.parent)).write_bytes(path.read_bytes())
    (runtimes / "source.py").write_bytes((own / "runtimes/containers/source.py").read_bytes())

    def lines() -> list[str]:
        return said.read_text(encoding="utf-8").splitlines()

    follower = (sys.executable, "-c", FOLLOWER, str(copy), str(said))
    path_first = f"{copy}{os.pathsep}{own.parent}"
    with running(*follower, PYTHONPATH=path_first):
        until(lambda: len(lines()) == 1, what="a first line")
        assert lines()[0].startswith(str(own))
        given = {"TRACELAB_KIND": "source", "TRACELAB_MOUNTED": str(mounted), "TRACELAB_SOURCE": str(copy)}
        with running(*COMPONENT, PYTHONPATH=str(own.parent), **given):
            until(lambda: len(lines()) == 2, what="a beginning from the copy")
            assert lines()[1].startswith(str(copy / "tracelab"))
            with (mounted / "tracelab" / "__init__.py").open("a", encoding="utf-8") as file:
                file.write("MARK = 'changed'\n")
            until(lambda: len(lines()) == 3, what="a beginning with the change")
            assert lines()[2].endswith(" changed")
        until(lambda: len(lines()) == 4, what="a beginning from its own")
        assert lines()[3].startswith(str(own))
    assert not (copy / "tracelab").exists()
