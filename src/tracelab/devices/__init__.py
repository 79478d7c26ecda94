"""A phone with a network and an impatient owner; people from Faker, seeded."""
