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

# Two processes: most tests wait for servers. `just test -n 0 -k word` runs few of them in one.
test *ARGS:
    python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder {{ ARGS }}

# Real peers for tests/peers, as far as this machine can have them: minutes the first time, kept in the user's cache.
peers:
    .ci/peers

# Writes anew what is rendered from code and committed.
render:
    python -m tracelab.platform.stack.render dashboards
    python -m tracelab.testing.openapi
    python -m tracelab.runtimes.compose.render .

# The tests that need a container engine alone; `.ci/engine just containers` starts one where root and apt are.
containers *ARGS:
    python -m pytest tests/containers {{ ARGS }}

# What takes longer than a check may: many kills, and the README's commands from a fresh clone.
prove KILLS="100" CONTAINER_KILLS="10" FUZZ_CASES="500":
    TRACELAB_KILLS={{ KILLS }} python -m pytest tests/platform/test_runtimes_orphans.py --timeout 3600
    TRACELAB_CHAOS_KILLS={{ KILLS }} python -m pytest tests/platform/test_chaos_kills.py --timeout 3600
    TRACELAB_CONTAINER_KILLS={{ CONTAINER_KILLS }} python -m pytest tests/containers/test_kills.py --timeout 3600
    TRACELAB_FUZZ_CASES={{ FUZZ_CASES }} python -m pytest tests/platform/test_openapi_fuzz.py --timeout 3600
    python benchmarks/boot.py
    python benchmarks/platform.py
    python benchmarks/platform.py --of chaos
