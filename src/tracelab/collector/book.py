"""The collector's book: what each start of each instance said that it sent, and what arrived here."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracelab.clock import now_ns
from tracelab.conventions import PROCESS_BOOT, SERVICE_INSTANCE_ID, SERVICE_NAME
from tracelab.store.account import InstanceAccount

LIVE_NS = 3_500_000_000  # three heartbeats missed
SILENT_NS = 7_000_000_000


class Sender(NamedTuple):
    """One start of one instance."""

    service: str
    instance: str
    boot: str


def count_spans(request: ExportTraceServiceRequest) -> Counter[Sender]:
    """Return the number of spans per sender."""
    found: Counter[Sender] = Counter()
    for group in request.resource_spans:
        named = {pair.key: pair.value.string_value for pair in group.resource.attributes}
        sender = Sender(
            named.get(SERVICE_NAME, "unknown"), named.get(SERVICE_INSTANCE_ID, ""), named.get(PROCESS_BOOT, "")
        )
        found[sender] += sum(len(scope.spans) for scope in group.scope_spans)
    return found


@dataclass(slots=True)
class Beat:
    """What a process said last. Counts are since its start."""

    started: int = 0
    finished: int = 0
    exported: int = 0
    dropped: int = 0
    refused: int = 0
    flushed_epoch: int = 0
    at_ns: int = 0
    is_here: bool = True
    left: bool = False


@dataclass(slots=True)
class Baseline:
    """Counts at the moment a Run's recording began."""

    stored: int = 0
    rejected: int = 0
    dropped: int = 0
    refused: int = 0

    @property
    def gone(self) -> int:
        """Return how many spans had come to an end before: whatever ends later belongs to the Run."""
        return self.stored + self.dropped + max(self.rejected, self.refused)


@dataclass(slots=True)
class Book:
    """Counts per sender; touched by the event loop alone, except `stored` and `begin`, which are the writer's."""

    stored: Counter[Sender] = field(default_factory=Counter)
    rejected: Counter[Sender] = field(default_factory=Counter)  # turned away and not since taken
    refusals: Counter[Sender] = field(default_factory=Counter)  # every refusal, repetitions too: never falls
    beats: dict[Sender, Beat] = field(default_factory=dict)
    baselines: dict[Sender, Baseline] = field(default_factory=dict)
    listed_from_ns: int = 0

    def beat(self, document: Mapping[str, Any]) -> Sender:
        """Take a heartbeat.

        Raises:
            KeyError: it does not say who sends it.
        """
        sender = Sender(str(document["service"]), str(document["instance"]), str(document["boot"]))
        numbers = {
            name: int(document.get(name, 0))
            for name in ("started", "finished", "exported", "dropped", "refused", "flushed_epoch")
        }
        left = bool(document.get("leaving"))
        self.beats[sender] = Beat(**numbers, at_ns=now_ns(), is_here=not left, left=left)
        return sender

    def lost_touch(self, sender: Sender) -> None:
        """Note that a process closed its connection while it waited for a reply, as one does that was killed."""
        if sender in self.beats:
            self.beats[sender].is_here = False

    def live(self) -> list[Sender]:
        """Return the senders that are heard."""
        at = now_ns()
        return [s for s, beat in self.beats.items() if beat.is_here and at - beat.at_ns < LIVE_NS]

    def is_expected(self, sender: Sender) -> bool:
        """Claim that a sender may still answer: it has not hung up, nor been silent for longer than a flush takes."""
        beat = self.beats[sender]
        return beat.is_here and now_ns() - beat.at_ns < SILENT_NS

    def begin(self) -> None:
        """Count from here on: a Run's recording begins (or ends)."""
        self.listed_from_ns = now_ns()
        baselines = {}
        for sender in {*self.stored, *self.rejected, *self.beats}:
            beat = self.beats.get(sender, Beat())
            baselines[sender] = Baseline(
                stored=self.stored[sender],
                rejected=self.rejected[sender],
                dropped=beat.dropped,
                refused=beat.refused,
            )
        self.baselines = baselines

    def account(self) -> list[InstanceAccount]:
        """Return the counts since `begin` of every sender that was heard or seen since."""
        live = set(self.live())
        return [
            row
            for sender in sorted({*self.stored, *self.rejected, *self.beats})
            if (row := self._row(sender, is_live=sender in live)) is not None
        ]

    def _row(self, sender: Sender, *, is_live: bool) -> InstanceAccount | None:
        base = self.baselines.get(sender, Baseline())
        beat = self.beats.get(sender)
        stored = self.stored[sender] - base.stored
        rejected = max(0, self.rejected[sender] - base.rejected)
        if not (is_live or stored or rejected or (beat is not None and beat.at_ns >= self.listed_from_ns)):
            return None
        said = beat or Beat()
        return InstanceAccount(
            service=sender.service,
            instance=sender.instance,
            boot=sender.boot,
            started=max(0, said.started - base.gone),
            finished=max(0, said.finished - base.gone),
            exported=max(0, said.exported - base.stored),
            dropped=max(0, said.dropped - base.dropped),
            refused=max(0, said.refused - base.refused),
            received=stored + rejected,
            stored=stored,
            rejected=rejected,
            alive=is_live,
            left=said.left,
            heartbeat_ns=said.at_ns,
        )

    # --- surviving a restart ---------------------------------------------------------------------

    def as_json(self, stored: Mapping[Sender, int]) -> list[dict[str, Any]]:
        """Return everything, with `stored` as the writer knows it at one position of its files."""
        return [
            {
                "sender": list(sender),
                "stored": stored.get(sender, 0),
                "rejected": self.rejected[sender],
                "refusals": self.refusals[sender],
                "beat": asdict(self.beats[sender]) if sender in self.beats else None,
                "baseline": asdict(self.baselines[sender]) if sender in self.baselines else None,
            }
            for sender in tuple({*stored, *self.rejected, *self.beats})
        ]

    def restore(self, rows: Iterable[Mapping[str, Any]], listed_from_ns: int) -> None:
        """Take up what a predecessor wrote."""
        self.listed_from_ns = listed_from_ns
        for row in rows:
            sender = Sender(*row["sender"])
            self.stored[sender] = row["stored"]
            self.rejected[sender] = row["rejected"]
            self.refusals[sender] = row["refusals"]
            if row["beat"]:
                self.beats[sender] = Beat(**{**row["beat"], "flushed_epoch": 0})
            if row["baseline"]:
                self.baselines[sender] = Baseline(**row["baseline"])
