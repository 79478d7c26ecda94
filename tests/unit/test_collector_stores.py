"""How statements are named in metrics."""

from tracelab.collector.stores import shortened


def test_a_short_statement_is_itself_on_one_line() -> None:
    """However it was written."""
    assert shortened("SELECT  a\n  FROM b\tWHERE c = $1") == "SELECT a FROM b WHERE c = $1"


def test_long_statements_that_begin_alike_have_different_names() -> None:
    """Or one would be counted as the other; the same one has the same name each time."""
    common = "SELECT " + ", ".join(f"column_{i}" for i in range(30))
    first, second = shortened(f"{common} FROM a"), shortened(f"{common} FROM b")
    assert first != second
    assert first == shortened(f"{common}\nFROM a")
    assert max(len(first), len(second)) <= 120
