"""refuse: attempts to connect are refused and live connections reset, as if nobody were there.

It works on the listener: so it is all or nothing. Unlike a disabled proxy it has a name and a time to live of its own.
"""

from tracelab.chaos.proxy.toxic import ToxicType

TYPE = ToxicType(name="refuse", go_name="RefuseToxic", attributes={}, stage=None)
