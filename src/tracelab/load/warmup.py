"""Warm-up: everybody joins, settles and uses everything once, many at a time but gently."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tracelab.devices.device import Device
from tracelab.devices.outcome import NoAnswer
from tracelab.load.scenario import Scenario

# The platform hashes passwords on a bounded queue (8 waiting, then 503): few sign up at once.
_JOINING = 4
_SETTLING = 8
_FILLING = 8


def warm_up(scenario: Scenario, phones: Sequence[Device], *, is_stopping: Callable[[], bool]) -> list[Device]:
    """Bring a crowd onto the platform, and return those who are on it.

    Each stage is over before the next begins, so that people settle among people who are there. A
    person who does not get an answer goes on with the next stage; one who could not join is left out.
    """

    def stage(act: Callable[[Device], None], people: Sequence[Device], at_once: int) -> list[Device]:
        def one(phone: Device) -> bool:
            if is_stopping():
                return False
            try:
                act(phone)
            except NoAnswer:
                return False
            return True

        with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="warm-up") as pool:
            did = list(pool.map(one, people))
        return [phone for phone, is_done in zip(people, did, strict=True) if is_done]

    crowd = stage(scenario.join, phones, _JOINING)
    scenario.crowd = crowd
    stage(scenario.settle, crowd, _SETTLING)
    stage(scenario.fill, crowd, _FILLING)
    return crowd
