"""The issue's own sentence, on containers: boot, drive, kill all caches, take down; everything recorded over HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tracelab.runtimes.containers.leftover import described


def tracelab(home: Path, *words: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it wrote to standard output."""
    environment = {**os.environ, "TRACELAB_HOME": str(home), "TRACELAB_BCRYPT_COST": "4"}
    done = subprocess.run(
        [sys.executable, "-m", "tracelab", *words], env=environment, capture_output=True, text=True, timeout=280
    )
    return done.returncode, done.stdout + done.stderr


def documents(home: Path) -> list[dict[str, Any]]:
    """Return ``run.json`` of every Run, oldest first."""
    return [json.loads(path.read_text()) for path in sorted((home / "runs").glob("*/run.json"))]


def test_boot_drive_harm_and_take_down(tmp_path: Path) -> None:
    """Each command ends well, the Runs hold spans and say on what they ran, the harm was measured; nothing is left."""
    code, said = tracelab(tmp_path, "up", "--runtime", "containers", "--images", "bundled", "--tls")
    assert code == 0, said
    assert said.startswith("runtime: containers (asked for)")
    try:
        people = ("--users", "20", "--warmup", "4s")
        code, said = tracelab(tmp_path, "scenario", "timeline", *people, "--duration", "8s", "--fail-on", "fail")
        assert "spans lost" not in said
        run = documents(tmp_path)[0]
        assert run["runtime"] == "containers", said
        assert run["state"] == "finished", said
        spans = list((tmp_path / "runs" / run["id"] / "spans").glob("*.segment"))
        assert sum(path.stat().st_size for path in spans) > 100_000
        account = json.loads((tmp_path / "runs" / run["id"] / "account.json").read_text())
        assert account["complete"], account
        code, said = tracelab(tmp_path, "trace", "--run", "live")
        assert code == 0, said
        code, said = tracelab(tmp_path, "chaos", "kill", "redis", "--for", "4s", "--no-load")
        assert code == 0, said
        assert said.count("connect refused") >= 4, said
        assert "healed" in said
        code, said = tracelab(tmp_path, "chaos", "status")
        assert "no fault holds" in said
    finally:
        code, said = tracelab(tmp_path, "down")
    assert code == 0, said
    assert described(tmp_path) == []
    code, said = tracelab(tmp_path, "check", "--run", run["id"])
    assert "auth.registration" in said
