"""limit_data: after `bytes` bytes of a connection it is closed."""

from tracelab.chaos.proxy.stage import Road, Stage
from tracelab.chaos.proxy.toxic import Toxic, ToxicType


class LimitData(Stage):
    """Counts; a change of the limit does not forget what was counted."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._passed_bytes = 0
        self._is_over = False

    def feed(self, data: bytes, at_s: float) -> None:
        """Pass what fits, then close."""
        if self._is_over:
            return
        data = data[: max(0, self.toxic.attributes["bytes"] - self._passed_bytes)]
        self._passed_bytes += len(data)
        if data:
            self.out.feed(data, at_s)
        if self._passed_bytes >= self.toxic.attributes["bytes"]:
            self._is_over = True
            self.road.cut()
            self.out.eof(at_s)

    def eof(self, at_s: float) -> None:
        """Pass the end, once."""
        if not self._is_over:
            self.out.eof(at_s)

    def take_over(self, old: Stage) -> None:
        """Go on counting."""
        if isinstance(old, LimitData):
            self._passed_bytes, self._is_over = old._passed_bytes, old._is_over  # noqa: SLF001 -- one of us


TYPE = ToxicType(name="limit_data", go_name="LimitDataToxic", attributes={"bytes": "int64"}, stage=LimitData)
