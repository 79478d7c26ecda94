"""slow_close: data pass; the end of the stream comes `delay` ms later."""

from tracelab.chaos.proxy.stage import Queue
from tracelab.chaos.proxy.toxic import ToxicType


class SlowClose(Queue):
    """Holds nothing but the end."""

    def eof(self, at_s: float) -> None:
        """Hold the end."""
        self.put(at_s + self.toxic.attributes["delay"] / 1000, None, at_s)


TYPE = ToxicType(name="slow_close", go_name="SlowCloseToxic", attributes={"delay": "int64"}, stage=SlowClose)
