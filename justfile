# Every check, in the order in which it fails fastest.
check: lint types layers docs test

lint:
    ruff check .
    ruff format --check .

types:
    mypy

layers:
    lint-imports

docs:
    mkdocs build --strict --quiet --site-dir build/site

test *ARGS:
    python -m pytest {{ ARGS }}
