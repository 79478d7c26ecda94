"""Somebody floods and sends garbage: they are refused and hung up on, and nobody else notices."""

import os
import re

import pytest

from tracelab.devices.outcome import LIMITED, REFUSED, RESET
from tracelab.experiment.evidence import STEADY, Evidence
from tracelab.platform.handle import Platform
from tracelab.store.run import Run
from tracelab.testing.command import CommandLine

pytestmark = pytest.mark.platform


def test_a_flood_is_limited_and_garbage_hung_up_on(platform: Platform) -> None:
    """The hammer is refused; nobody else is limited or loses a socket, and what they saw is all they are judged on."""
    command = CommandLine(platform.folder.parents[1], os.environ)
    words = ("scenario", "hammer", "--users", "17", "--duration", "14s", "--warmup", "2s", "--seed", "3")
    reply = command.run(*words, "--fail-on", "fail")
    found = re.search(r"^run (\S+)", reply.out, re.MULTILINE)
    assert found, reply
    run = Run.open(command.home / "runs" / found[1])
    verdicts = run.read_json("verdicts.json")
    assert verdicts is not None
    findings = {finding["id"]: finding for finding in verdicts["findings"]}
    flood = findings["flood.limited"]
    assert 0 < flood["bad"] < flood["n"], flood  # how large the share is, a busy machine decides
    assert (findings["garbage.closed"]["n"] > 0, findings["garbage.closed"]["bad"]) == (True, 0)
    evidence = Evidence(run)
    others = evidence.during(STEADY)
    assert {s.operation for s in others} >= {"GET /api/timeline/{user_id}", "message delivery"}
    # A time-out a busy machine may cost anybody; a 429 or a lost socket is what the hammer would have done to them.
    assert [s for s in others if s.outcome in (LIMITED, REFUSED, RESET)] == []
    assert findings["errors"]["n"] == len(others)
    assert len({s.person for s in evidence.hostile_during(STEADY)}) == 1
