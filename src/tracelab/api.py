"""The one module that scenarios and user code import.

A scenario is a subclass of `Scenario` in a file of its own; its steps are methods marked with
`step`, each given the `Device` (a phone) of the person who does it.
"""

from tracelab.devices.device import Answer, Device
from tracelab.devices.outcome import NoAnswer
from tracelab.devices.person import Person
from tracelab.load.scenario import Scenario, step

__all__ = ["Answer", "Device", "NoAnswer", "Person", "Scenario", "step"]
