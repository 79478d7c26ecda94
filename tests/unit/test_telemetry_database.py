"""Which statements are spans, and how they are named."""

import pytest

from tracelab.telemetry.database import describe


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT posts.id FROM posts WHERE x", ("SELECT", "posts")),
        ('select * from "feed"."posts" p join users u', ("SELECT", "posts")),
        ("SELECT x FROM (SELECT y FROM likes) AS s", ("SELECT", "likes")),
        ("INSERT INTO posts (id) VALUES (1) RETURNING id", ("INSERT", "posts")),
        ("INSERT INTO a SELECT * FROM b", ("INSERT", "a")),
        ("UPDATE posts SET text = 'DELETE FROM users'", ("UPDATE", "posts")),
        ("DELETE FROM ONLY posts", ("DELETE", "posts")),
        ("WITH page AS (SELECT 1 FROM posts) SELECT * FROM page", ("SELECT", "posts")),
        ("WITH gone AS (DELETE FROM outbox RETURNING *) SELECT * FROM gone", ("DELETE", "outbox")),
        ("BEGIN", None),
        ("SELECT 1", None),
        ("SELECT set_config('app.user_id', $1, true)", None),
        ("SELECT version_num FROM alembic_version", None),
        ("SELECT relname FROM pg_catalog.pg_class", None),
        ("CREATE TABLE posts (id int)", None),
    ],
)
def test_a_statement_is_named_by_its_verb_and_table(statement: str, expected: tuple[str, str] | None) -> None:
    """`SELECT posts`; nothing for transactions, schema changes, settings and the catalogue."""
    assert describe(statement) == expected
