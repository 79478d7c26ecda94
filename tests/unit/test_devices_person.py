"""People and their phones' addresses come from the seed."""

import ipaddress
from collections import Counter

from tracelab.devices.address import address_of
from tracelab.devices.person import Person, people

ROLES = {"reader": 7, "writer": 1}


def crowd(seed: int = 7, run_id: str = "run-a", count: int = 40) -> list[Person]:
    return people(seed=seed, run_id=run_id, count=count, roles=ROLES)


def test_same_seed_makes_the_same_people_who_say_the_same() -> None:
    """Names, roles and sentences are equal in a second Run; account names are not."""
    one, two = crowd(run_id="run-a"), crowd(run_id="run-b")
    assert [p.name for p in one] == [p.name for p in two]
    assert [p.role for p in one] == [p.role for p in two]
    assert [p.says() for p in one] == [p.says() for p in two]
    assert not {p.username for p in one} & {p.username for p in two}
    assert not {p.password for p in one} & {p.password for p in two}


def test_another_seed_makes_other_people_with_other_words() -> None:
    """Nothing of what people say or are called survives a change of the seed."""
    one, two = crowd(seed=7), crowd(seed=8)
    assert [p.name for p in one] != [p.name for p in two]
    assert not {p.says() for p in one} & {p.says() for p in two}


def test_what_one_person_says_does_not_depend_on_others() -> None:
    """Each has dice of their own, so the order in which people are asked does not matter."""
    one, two = crowd(), crowd()
    for person in reversed(two):
        person.says()
    for person in one:
        person.says()
    assert [p.says() for p in one] == [p.says() for p in two]


def test_roles_have_their_exact_shares_at_every_size() -> None:
    """One in eight writes, also in the first eight of a crowd."""
    assert Counter(p.role for p in crowd(count=200)) == {"reader": 175, "writer": 25}
    assert Counter(p.role for p in crowd(count=8)) == {"reader": 7, "writer": 1}


def test_accounts_of_one_run_are_distinct() -> None:
    """Nobody is refused as taken, however many share a first name."""
    names = [p.username for p in crowd(count=500)]
    assert len(set(names)) == 500
    assert all(n.replace("_", "").isalnum() and len(n) <= 32 for n in names)


def test_phones_have_loopback_addresses_of_their_own() -> None:
    """No two phones of a seed share one, none is 127.0.0.x, and the last address wraps to the first."""
    addresses = {address_of(3, index) for index in range(2000)}
    assert len(addresses) == 2000
    assert all(ipaddress.ip_address(a).is_loopback and not a.startswith("127.0.0.") for a in addresses)
    assert address_of(3, 5) == address_of(3, 5) != address_of(4, 5)
