"""The undo ledger survives crashes, other processes and itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tracelab.chaos.harm import Healed, Lease
from tracelab.chaos.ledger import Entry, Ledger
from tracelab.errors import InfrastructureError, NotUndone, PlatformDown, TracelabError


class Platform:
    """Holds faults by id; refuses to heal some."""

    def __init__(self, refuses: dict[str, TracelabError] | None = None) -> None:
        self.refuses = refuses or {}
        self.healed: list[str] = []

    def kill(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool) -> Lease:
        """Refuse: the ledger never harms."""
        raise AssertionError((instances, fault_id, ttl_s, gracefully))

    def heal(self, fault_id: str) -> Healed | None:
        """Note the id, or refuse."""
        if fault_id in self.refuses:
            raise self.refuses[fault_id]
        self.healed.append(fault_id)
        return None


def entry(fault_id: str) -> Entry:
    return Entry(id=fault_id, fault="kill", target="redis", instances=("feed-redis#1",), expires_ns=2, opened_ns=1)


def test_an_entry_is_open_until_it_is_closed(tmp_path: Path) -> None:
    """What was opened is active, with its effect once that was verified, until it is closed."""
    ledger = Ledger(tmp_path)
    assert ledger.active() == []
    ledger.open(entry("a"))
    ledger.open(entry("b"))
    ledger.verified("a", "connect refused")
    assert [(e.id, bool(e.verified_ns), e.effect) for e in ledger.active()] == [
        ("a", True, "connect refused"),
        ("b", False, ""),
    ]
    assert ledger.active()[0].as_json()["verified"] is True
    ledger.close("a")
    assert [e.id for e in Ledger(tmp_path).active()] == ["b"]


@pytest.mark.parametrize("torn", [b'{"op":"open","id":"c","fau', b'{"op":"closed","id":"a"', b"\xff\xfe{", b"[1]"])
def test_a_torn_last_line_is_passed_over_and_repaired(tmp_path: Path, torn: bytes) -> None:
    """A line cut off by a crash changes nothing, and the next one stands on a line of its own."""
    ledger = Ledger(tmp_path)
    ledger.open(entry("a"))
    with ledger.path.open("ab") as file:
        file.write(torn)
    assert [e.id for e in ledger.active()] == ["a"]
    ledger.open(entry("b"))
    assert [e.id for e in ledger.active()] == ["a", "b"]


_WRITER = """
import sys
from pathlib import Path
from tracelab.chaos.ledger import Entry, Ledger

ledger = Ledger(Path(sys.argv[1]))
for number in range(20):
    fault_id = f"{sys.argv[2]}-{number}"
    ledger.open(Entry(id=fault_id, fault="kill", target="redis", instances=("feed-redis#1",)))
    if number % 2:
        ledger.close(fault_id)
"""


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    """No line of one process tears a line of another."""
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), str(who)]) for who in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    expected = {f"{who}-{number}" for who in range(3) for number in range(0, 20, 2)}
    assert {e.id for e in Ledger(tmp_path).active()} == expected


def test_replaying_heals_newest_first_and_once(tmp_path: Path) -> None:
    """Everything open is undone, in the opposite order, and a second replay has nothing to do."""
    ledger, platform = Ledger(tmp_path), Platform()
    for fault_id in "abc":
        ledger.open(entry(fault_id))
    assert [e.id for e in ledger.heal_all(platform)] == ["c", "b", "a"]
    assert ledger.heal_all(platform) == []
    assert platform.healed == ["c", "b", "a"]


def test_one_refusal_does_not_stop_the_others(tmp_path: Path) -> None:
    """What cannot be undone stays open and is told; the rest is undone."""
    ledger = Ledger(tmp_path)
    for fault_id in "abc":
        ledger.open(entry(fault_id))
    platform = Platform({"b": InfrastructureError("the disk is full")})
    with pytest.raises(NotUndone, match="1 of 3 faults could not be undone: kill redis: the disk is full"):
        ledger.heal_all(platform)
    assert [e.id for e in ledger.active()] == ["b"]


def test_a_platform_that_is_gone_leaves_nothing_to_undo(tmp_path: Path) -> None:
    """The harm went down with the platform: its entries are closed."""
    ledger = Ledger(tmp_path)
    ledger.open(entry("a"))
    assert [e.id for e in ledger.heal_all(Platform({"a": PlatformDown("gone")}))] == ["a"]
    assert ledger.active() == []


def test_a_long_history_is_forgotten_only_when_nothing_is_open(tmp_path: Path) -> None:
    """The file is emptied once it is long and everything in it is closed."""
    ledger = Ledger(tmp_path)
    ledger.open(entry("kept"))
    with ledger.path.open("a", encoding="utf-8") as file:
        file.write((json.dumps({"op": "closed", "id": "x" * 100}) + "\n") * 1000)
    ledger.open(entry("b"))
    ledger.close("b")
    assert [e.id for e in ledger.active()] == ["kept"]
    ledger.close("kept")
    assert ledger.path.stat().st_size == 0
