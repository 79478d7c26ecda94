"""Give calls to items: each call to at most one, each item between its `least` and its `most`, in order where asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Owners = dict[int, int]
_Chain = tuple[Any, int, int] | None  # (what came before, call, slot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What one item can take: indices of calls, the preferred first. `most` is None where there is no limit."""

    least: int
    most: int | None
    calls: Sequence[int]


def assign(slots: Sequence[Slot], preference: Sequence[int]) -> Owners:
    """Return which slot each call goes to, so that no more slots and no more calls could be served.

    First every slot gets its `least` (Kuhn 1955), then every other call is placed where there is room. Neither takes
    back what was served before, so both are as good as they can be (Mendelsohn and Dulmage 1958). Slots choose in
    the order of `preference`.
    """
    owner: Owners = {}

    def claim(slot: int, seen: set[int]) -> bool:
        calls = [c for c in slots[slot].calls if c not in seen]
        free = next((c for c in calls if c not in owner), None)
        if free is not None:
            owner[free] = slot
            return True
        for call in calls:
            if owner[call] != slot and call not in seen:
                seen.add(call)
                if claim(owner[call], seen):
                    owner[call] = slot
                    return True
        return False

    for slot in preference:
        for _ in range(slots[slot].least):
            claim(slot, set())
    wanted_by = _wanted_by(slots, preference)

    def place(call: int, seen: set[int]) -> bool:
        for slot in wanted_by[call]:
            if slot in seen:
                continue
            seen.add(slot)
            held = [c for c, s in owner.items() if s == slot]
            most = slots[slot].most
            if most is None or len(held) < most or any(place(c, seen) for c in held):
                owner[call] = slot
                return True
        return False

    for call in sorted(wanted_by):
        if call not in owner:
            place(call, set())
    return owner


def assign_in_order(
    slots: Sequence[Slot],
    preference: Sequence[int],
    ordered: int,
    times: Sequence[tuple[int, int]],
    tolerance_ns: int,
) -> Owners | None:
    """Return an assignment that serves every slot and every call that any slot can take, in order; else None.

    The first `ordered` slots stand in sequence: each of their calls ends before the next one starts. `times` are
    start and end of each call, by start. What was decided for earlier calls matters only by how many each slot
    has, when the last of them ended and the first began, so that equal states are followed once.
    """
    wanted_by = _wanted_by(slots, preference)
    enough = [s.least if s.most is None else s.most for s in slots]
    states: dict[tuple[tuple[int, int, int], ...], _Chain] = {tuple((0, 0, 1 << 63) for _ in slots): None}
    for call in sorted(wanted_by):
        start, end = times[call]
        following: dict[tuple[tuple[int, int, int], ...], _Chain] = {}
        for state, chain in states.items():
            for slot in wanted_by[call]:
                count, last_end, first_start = state[slot]
                if slots[slot].most is not None and count >= enough[slot]:
                    continue
                if slot < ordered and (
                    any(start + tolerance_ns < state[s][1] for s in range(slot + 1))
                    or any(state[s][2] + tolerance_ns < end for s in range(slot + 1, ordered))
                ):
                    continue
                now = (min(count + 1, enough[slot]), 0, 1 << 63)
                if slot < ordered:
                    now = (now[0], max(last_end, end), min(first_start, start))
                following.setdefault((*state[:slot], now, *state[slot + 1 :]), (chain, call, slot))
        states = following
    for state, chain in states.items():
        if all(count >= slot.least for (count, _, _), slot in zip(state, slots, strict=True)):
            return _unrolled(chain)
    return None


def _wanted_by(slots: Sequence[Slot], preference: Sequence[int]) -> Mapping[int, list[int]]:
    wanted: dict[int, list[int]] = {}
    for slot in preference:
        for call in slots[slot].calls:
            wanted.setdefault(call, []).append(slot)
    return wanted


def _unrolled(chain: _Chain) -> Owners:
    owner: Owners = {}
    while chain is not None:
        chain, call, slot = chain
        owner[call] = slot
    return owner
