"""connect_timeout: attempts to connect get no answer at all, as if the packets were lost; live connections go on.

It works on the listener, whose queue is full while it holds: so it is all or nothing.
"""

from tracelab.chaos.proxy.toxic import ToxicType

TYPE = ToxicType(name="connect_timeout", go_name="ConnectTimeoutToxic", attributes={}, stage=None)
