"""noop: nothing at all; where to begin when writing another."""

from tracelab.chaos.proxy.stage import Stage
from tracelab.chaos.proxy.toxic import ToxicType

TYPE = ToxicType(name="noop", go_name="NoopToxic", attributes={}, stage=Stage)
