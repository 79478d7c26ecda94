"""People: who they are, and the words they use. The same seed makes the same people again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

_VOCABULARY = 600  # words that a whole crowd shares; each person strings them together differently


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person. `dice` is their own source of chance, so that what others do does not change what they say."""

    index: int
    role: str
    name: str
    username: str
    email: str
    password: str
    dice: Random
    vocabulary: Sequence[str]

    def says(self, least: int = 4, most: int = 16) -> str:
        """Return a sentence of `least` to `most` words."""
        words = self.dice.choices(self.vocabulary, k=self.dice.randint(least, most))
        return " ".join(words).capitalize() + "."


def people(*, seed: int, run_id: str, count: int, roles: Mapping[str, int]) -> list[Person]:
    """Return `count` people, in every order of roles as `roles` weighs them.

    Names and words come from the seed alone; account names and passwords carry the Run as well, so
    that every Run registers people of its own on the same platform.
    """
    from faker import Faker

    faker = Faker("en_US")
    faker.seed_instance(seed)
    vocabulary = tuple(dict.fromkeys(faker.words(nb=_VOCABULARY)))
    mark = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    made = []
    for index, role in enumerate(_cast(roles, count)):
        first, last = faker.first_name(), faker.last_name()
        username = f"{first}_{index}_{mark}".lower()
        made.append(
            Person(
                index=index,
                role=role,
                name=f"{first} {last}",
                username=username,
                email=f"{username}@example.org",
                password=hashlib.sha256(f"{run_id}/{seed}/{index}".encode()).hexdigest()[:24],
                dice=Random(f"{seed}/{index}"),
                vocabulary=vocabulary,
            )
        )
    return made


def _cast(roles: Mapping[str, int], count: int) -> list[str]:
    """Return a role for each person: exact shares, evenly spread (whoever is most behind their share comes next)."""
    total = sum(roles.values())
    given = dict.fromkeys(roles, 0)
    cast = []
    for number in range(1, count + 1):
        role = max(roles, key=lambda r: roles[r] * number / total - given[r])
        given[role] += 1
        cast.append(role)
    return cast
