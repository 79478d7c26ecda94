"""What a Check says: a Verdict, and the Findings that explain it. A leaf: pure values."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The judgement of one check."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    INVALID = "invalid"


class CheckKind(StrEnum):
    """What kind of promise of the architecture a check holds."""

    SHAPE = "shape"
    OBJECTIVE = "objective"
    PROMISE = "promise"
    LINT = "lint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One judged statement; its fields are the JSON that programs rely on (``tracelab/1``).

    ``estimate`` and ``interval`` are in ``unit`` (``ms``, ``%``, ``s``, or none); ``n`` observations
    of which ``bad`` were bad; ``needed`` says how many more observations would decide an
    inconclusive finding; ``asked`` is False for findings that are shown but do not count.
    """

    id: str
    kind: CheckKind
    subject: str
    verdict: Verdict
    limit: str | None = None
    estimate: float | None = None
    unit: str | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    bad: int = 0
    needed: int | None = None
    message: str = ""
    exemplars: tuple[str, ...] = ()
    asked: bool = True
    p_value: float | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as the JSON object of ``check --json``."""
        document = asdict(self)
        document["kind"] = self.kind.value
        document["verdict"] = self.verdict.value
        document["interval"] = None if self.interval is None else list(self.interval)
        document["exemplars"] = list(self.exemplars)
        return document

    @staticmethod
    def from_json(document: dict[str, Any]) -> "Finding":
        """Read a finding back; unknown fields of later versions are ignored."""
        known = {k: v for k, v in document.items() if k in Finding.__dataclass_fields__}
        known["kind"] = CheckKind(known["kind"])
        known["verdict"] = Verdict(known["verdict"])
        interval = known.get("interval")
        known["interval"] = None if interval is None else (float(interval[0]), float(interval[1]))
        known["exemplars"] = tuple(known.get("exemplars", ()))
        return Finding(**known)


_WORST_FIRST = (Verdict.FAIL, Verdict.INVALID, Verdict.NO_DATA, Verdict.INCONCLUSIVE)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fold verdicts into one: any fail, else invalid, else no data, else inconclusive, else pass."""
    seen = set(verdicts)
    for verdict in _WORST_FIRST:
        if verdict in seen:
            return verdict
    return Verdict.PASS
