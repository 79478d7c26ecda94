"""Row-level security by direct SQL, in all four databases: what a service's role may do for whom, and what nobody may.

Each database has a few rows of Ann's, who talks with Bob. `ATTEMPTS` says what comes of a statement that is tried
for Ann (owner), Bob (member), Eve (other) and nobody in turn: so many rows, or refused.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql

from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.services.kit.database import Database
from tracelab.testing.database import Role, roles_of, url_of

SERVICES: Final = {"auth-db": "auth", "user-db": "profile", "feed-db": "feed", "messages-db": "messaging"}
USERS: Final = (Role.SERVICE, Role.SYSTEM)
STORES: Final = Topology(
    name="rows",
    components=tuple(Component(name=name, kind=Kind.DATABASE, group="postgres") for name in SERVICES),
    edges=(),
)
IDS: Final = {
    name: str(uuid.UUID(int=number))
    for number, name in enumerate(("ann", "bob", "eve", "session", "post", "comment", "talk", "message", "new"), 1)
}
WHO: Final = ("ann", "bob", "eve", None)
REFUSED: Final = -1

SEEDS: Final = {
    "auth-db": """
        INSERT INTO users (id, username, email, password_hash) VALUES ($ann, 'ann', 'ann@example.org', 'hash');
        INSERT INTO identities (provider, subject, user_id) VALUES ('google', '1', $ann);
        INSERT INTO sessions (id, user_id, expires_at, refresh_hash) VALUES ($session, $ann, now(), 'hash');
        INSERT INTO ended_sessions (id) VALUES ($new);
        INSERT INTO signing_keys (kid, private_pem) VALUES ('kid', 'pem');
        INSERT INTO outbox (user_id, username, display_name, traceparent) VALUES ($ann, 'ann', 'Ann', '')
    """,
    "user-db": """
        INSERT INTO profiles (user_id, username, display_name) VALUES ($ann, 'ann', 'Ann'), ($bob, 'bob', 'Bob');
        INSERT INTO follows (follower_id, followed_id) VALUES ($ann, $bob), ($bob, $ann);
        INSERT INTO outbox (topic, key, payload, traceparent, baggage, due_at) VALUES ('t', 'k', '{}', '', '', now());
        INSERT INTO departed (user_id) VALUES ($new)
    """,
    "feed-db": """
        INSERT INTO posts (id, author_id, text, created_at) VALUES ($post, $ann, 'hello', now());
        INSERT INTO likes (post_id, user_id) VALUES ($post, $ann);
        INSERT INTO comments (id, post_id, author_id, text, created_at) VALUES ($comment, $post, $ann, 'I mean', now());
        INSERT INTO outbox (topic, key, payload, traceparent, baggage, due_at) VALUES ('t', 'k', '{}', '', '', now());
        INSERT INTO departed (user_id) VALUES ($new)
    """,
    "messages-db": """
        INSERT INTO conversations (id, direct_key, created_at) VALUES ($talk, 'ann:bob', now());
        INSERT INTO members (conversation_id, user_id) VALUES ($talk, $ann), ($talk, $bob);
        INSERT INTO messages (id, conversation_id, sender_id, client_id, body, created_at)
        VALUES ($message, $talk, $ann, '1', 'hello', now());
        INSERT INTO departed (user_id) VALUES ($new)
    """,
}

# Rows for Ann, Bob, Eve and nobody.
EVERYBODY: Final = (1, 1, 1, 0)
OWNER: Final = (1, 0, 0, 0)
OWNER_WRITES: Final = (1, REFUSED, REFUSED, REFUSED)
NOBODY: Final = (REFUSED, REFUSED, REFUSED, REFUSED)
_OUTBOX: Final = "INSERT INTO outbox (topic, key, payload, traceparent, baggage, due_at) VALUES"

ATTEMPTS: Final[Mapping[str, Mapping[str, tuple[int, int, int, int]]]] = {
    "auth-db": {
        "SELECT id, username, email FROM users WHERE id = $ann": OWNER,
        "SELECT password_hash FROM users": NOBODY,
        "INSERT INTO users (id, username, email) VALUES ($new, 'new', 'new@example.org')": NOBODY,
        "UPDATE users SET email = 'eve@example.org' WHERE id = $ann": NOBODY,
        "DELETE FROM users WHERE id = $ann": NOBODY,
        "SELECT id FROM sessions WHERE user_id = $ann": OWNER,
        "SELECT refresh_hash FROM sessions": NOBODY,
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ($new, $ann, now())": NOBODY,
        "UPDATE sessions SET user_id = $eve": NOBODY,
        "DELETE FROM sessions WHERE id = $session": OWNER,
        "INSERT INTO ended_sessions (id) VALUES ($session)": OWNER_WRITES,
        "SELECT id FROM ended_sessions": NOBODY,
        "SELECT subject FROM identities": NOBODY,
        "INSERT INTO identities (provider, subject, user_id) VALUES ('google', '2', $ann)": NOBODY,
        "SELECT kid FROM signing_keys": NOBODY,
        "INSERT INTO signing_keys (kid, private_pem) VALUES ('mine', 'pem')": NOBODY,
        "DELETE FROM signing_keys": NOBODY,
        "SELECT username FROM outbox": NOBODY,
        "DELETE FROM outbox": NOBODY,
    },
    "user-db": {
        "SELECT * FROM profiles WHERE user_id = $ann": EVERYBODY,
        "SELECT * FROM people WHERE user_id = $ann": EVERYBODY,
        "UPDATE profiles SET bio = 'changed' WHERE user_id = $ann": OWNER,
        "UPDATE profiles SET username = 'else' WHERE user_id = $ann": NOBODY,
        "UPDATE profiles SET user_id = $eve WHERE user_id = $ann": NOBODY,
        "INSERT INTO profiles (user_id, username, display_name) VALUES ($ann, 'a', 'A') ON CONFLICT DO NOTHING": (
            0,
            REFUSED,
            REFUSED,
            REFUSED,
        ),
        "DELETE FROM profiles WHERE user_id = $ann": NOBODY,
        "UPDATE people SET bio = 'changed'": NOBODY,
        "DELETE FROM people": NOBODY,
        "SELECT * FROM follows WHERE follower_id = $ann": EVERYBODY,
        "INSERT INTO follows (follower_id, followed_id) VALUES ($ann, $bob) ON CONFLICT DO NOTHING": (
            0,
            REFUSED,
            REFUSED,
            REFUSED,
        ),
        "DELETE FROM follows WHERE follower_id = $ann": OWNER,
        "DELETE FROM follows WHERE followed_id = $ann": (0, 1, 0, 0),  # by Bob, who follows her
        "UPDATE follows SET followed_id = $eve": NOBODY,
        "SELECT * FROM departed": (0, 0, 0, 0),
        "INSERT INTO departed (user_id) VALUES ($ann)": NOBODY,
        "DELETE FROM departed": NOBODY,
        f"{_OUTBOX} ('follow.changed', 'x', '{{\"follower_id\": $ann}}', '', '', now())": OWNER_WRITES,
        f"{_OUTBOX} ('user.deleted.auth', $ann, '{{\"follower_id\": $ann}}', '', '', now())": NOBODY,
        "SELECT key FROM outbox": NOBODY,
        "UPDATE outbox SET due_at = now()": NOBODY,
        "DELETE FROM outbox": NOBODY,
    },
    "feed-db": {
        "SELECT * FROM posts WHERE id = $post": EVERYBODY,
        "INSERT INTO posts (id, author_id, text, created_at) VALUES ($new, $ann, 'x', now())": OWNER_WRITES,
        "UPDATE posts SET text = 'changed' WHERE id = $post": OWNER,
        "UPDATE posts SET author_id = $eve WHERE id = $post": NOBODY,
        "DELETE FROM posts WHERE id = $post": OWNER,
        "SELECT * FROM likes WHERE post_id = $post": EVERYBODY,
        "INSERT INTO likes (post_id, user_id) VALUES ($post, $bob)": (REFUSED, 1, REFUSED, REFUSED),
        "UPDATE likes SET user_id = $eve": NOBODY,
        "DELETE FROM likes WHERE user_id = $ann": OWNER,
        "SELECT * FROM comments WHERE id = $comment": EVERYBODY,
        "INSERT INTO comments (id, post_id, author_id, text, created_at) VALUES ($new, $post, $ann, 'x', now())": (
            OWNER_WRITES
        ),
        "UPDATE comments SET text = 'changed'": NOBODY,
        "DELETE FROM comments WHERE id = $comment": NOBODY,
        "SELECT * FROM departed": (0, 0, 0, 0),
        "INSERT INTO departed (user_id) VALUES ($ann)": NOBODY,
        f"{_OUTBOX} ('post.changed', 'x', '{{\"author_id\": $ann}}', '', '', now())": OWNER_WRITES,
        f"{_OUTBOX} ('posts.gone', 'x', '{{\"author_id\": $ann}}', '', '', now())": NOBODY,
        "SELECT key FROM outbox": NOBODY,
        "UPDATE outbox SET due_at = now()": NOBODY,
        "DELETE FROM outbox": NOBODY,
    },
    "messages-db": {
        "SELECT * FROM conversations WHERE id = $talk": (1, 1, 0, 0),
        "SELECT * FROM members WHERE conversation_id = $talk": (2, 2, 0, 0),
        "SELECT * FROM messages WHERE conversation_id = $talk": (1, 1, 0, 0),
        "INSERT INTO conversations (id, created_at) VALUES ($new, now())": (1, 1, 1, REFUSED),
        "UPDATE conversations SET title = 'changed'": NOBODY,
        "DELETE FROM conversations": NOBODY,
        "INSERT INTO members (conversation_id, user_id) VALUES ($talk, $eve)": NOBODY,
        "UPDATE members SET read_id = $message WHERE user_id = $ann": OWNER,
        "UPDATE members SET conversation_id = $new": NOBODY,
        "UPDATE members SET user_id = $eve": NOBODY,
        "DELETE FROM members": NOBODY,
        "INSERT INTO messages (id, conversation_id, sender_id, client_id, body, created_at)"
        " VALUES ($new, $talk, $ann, '2', 'x', now())": OWNER_WRITES,
        "INSERT INTO messages (id, conversation_id, sender_id, client_id, body, created_at)"
        " VALUES ($new, $talk, $bob, '2', 'x', now())": (REFUSED, 1, REFUSED, REFUSED),
        "INSERT INTO messages (id, conversation_id, sender_id, client_id, body, created_at)"
        " VALUES ($new, $talk, $eve, '2', 'x', now())": NOBODY,  # Eve's sender is Eve, and no member
        "INSERT INTO messages (id, conversation_id, client_id, body, created_at)"
        " VALUES ($new, $talk, '2', 'x', now())": NOBODY,
        "UPDATE messages SET body = 'changed'": NOBODY,
        "DELETE FROM messages": NOBODY,
        "INSERT INTO departed (user_id) VALUES ($ann)": NOBODY,
        "DELETE FROM departed": NOBODY,
    },
}

# What belongs to no user: so many rows while nobody has left, and once Ann has. What is not here is refused below.
BY_SYSTEM: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "auth-db": {
        "SELECT password_hash FROM users": (1, 1),
        "UPDATE users SET password_hash = 'mine'": (REFUSED, REFUSED),
        "UPDATE users SET email = 'eve@example.org'": (REFUSED, REFUSED),
        "UPDATE sessions SET user_id = $eve": (REFUSED, REFUSED),
        "UPDATE identities SET user_id = $eve": (REFUSED, REFUSED),
        "UPDATE signing_keys SET private_pem = 'mine'": (REFUSED, REFUSED),
    },
    "user-db": {
        "SELECT * FROM profiles": (0, 1),
        "UPDATE profiles SET bio = 'changed'": (REFUSED, REFUSED),
        "INSERT INTO profiles (user_id, username, display_name) VALUES ($eve, 'e', 'E')": (REFUSED, REFUSED),
        "INSERT INTO follows (follower_id, followed_id) VALUES ($eve, $ann)": (REFUSED, REFUSED),
        "DELETE FROM profiles": (0, 1),
        "DELETE FROM follows": (0, 2),
        "SELECT * FROM people": (REFUSED, REFUSED),
        "DELETE FROM departed": (REFUSED, REFUSED),
        "SELECT key FROM outbox": (1, 1),
        "UPDATE outbox SET payload = '{}'": (REFUSED, REFUSED),
    },
    "feed-db": {
        "SELECT * FROM posts": (0, 1),
        "INSERT INTO posts (id, author_id, text, created_at) VALUES ($new, $ann, 'x', now())": (REFUSED, REFUSED),
        "UPDATE posts SET text = 'changed'": (REFUSED, REFUSED),
        "DELETE FROM posts": (0, 1),
        "DELETE FROM likes": (0, 1),
        "DELETE FROM comments": (0, 1),
        "DELETE FROM departed": (REFUSED, REFUSED),
        "UPDATE outbox SET payload = '{}'": (REFUSED, REFUSED),
    },
    "messages-db": {
        "SELECT * FROM messages": (1, 1),
        "UPDATE messages SET body = 'changed'": (REFUSED, REFUSED),
        "DELETE FROM messages": (REFUSED, REFUSED),
        "INSERT INTO members (conversation_id, user_id) VALUES ($talk, $eve)": (REFUSED, REFUSED),
        "DELETE FROM members": (0, 1),
        "DELETE FROM conversations": (0, 0),  # Bob is still there
        "DELETE FROM departed": (REFUSED, REFUSED),
    },
}

# Nobody but the owner, whatever is said of who asks; `{table}` is each table of the database.
ESCAPES: Final = (
    "SET ROLE {database}_owner",
    "SET ROLE {database}_system",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION {database}_owner",
    "ALTER ROLE {database} BYPASSRLS",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT {database}_owner TO CURRENT_USER",
    "CREATE ROLE mine LOGIN BYPASSRLS",
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE OR REPLACE FUNCTION app_user() RETURNS uuid LANGUAGE sql RETURN NULL",
    "ALTER FUNCTION app_user() SECURITY DEFINER",
    "ALTER DATABASE {database} OWNER TO CURRENT_USER",
    "SELECT * FROM alembic_version",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
)
ESCAPES_OF_A_TABLE: Final = (
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "DROP TABLE {table}",
    "TRUNCATE {table} CASCADE",
    "CREATE POLICY mine ON {table} USING (true)",
    "ALTER POLICY {policy} ON {table} USING (true)",
    "DROP POLICY {policy} ON {table}",
    "CREATE TRIGGER mine BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE mine AS ON DELETE TO {table} DO INSTEAD NOTHING",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A database with its rows, and a connection of each role."""

    name: str
    connections: Mapping[Role, psycopg.Connection[Any]]

    @property
    def tables(self) -> list[str]:
        """Return all tables of the service."""
        found = self.connections[Role.OWNER].execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = CAST('public' AS regnamespace)"
            " AND relname <> 'alembic_version' ORDER BY relname"
        )
        return [str(name) for (name,) in found]

    def tried(self, role: Role, statement: str, *, user: str | None = None, gone: str | None = None) -> int:
        """Return how many rows a statement gives or changes, or `REFUSED`; nothing is left of it."""
        connection = self.connections[role]
        with connection.transaction(force_rollback=True):
            if gone:
                connection.execute("INSERT INTO departed (user_id) VALUES (%s)", (IDS[gone],))
            if user:
                connection.execute("SELECT set_config('app.user_id', %s, true)", (IDS[user],))
            try:
                with connection.transaction():
                    return connection.execute(written(statement)).rowcount
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation):
                return REFUSED


def written(statement: str) -> str:
    """Return a statement with the ids that it names; inside a JSON text they are texts of JSON."""
    for name, value in IDS.items():
        statement = statement.replace(f": ${name}}}", f': "{value}"}}').replace(f"${name}", f"'{value}'")
    return statement


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Store]]:
    """All four databases with their newest schema and Ann's rows."""
    runtime = Embedded()
    platform = runtime.up(STORES, UpOptions(home=tmp_path_factory.mktemp("rows")), lambda _event: None)
    found = {name: opened(platform, name) for name in SERVICES}
    yield found
    for store in found.values():
        for connection in store.connections.values():
            connection.close()
    runtime.down(platform, lambda _event: None)


def opened(platform: Platform, name: str) -> Store:
    """Migrate a database, fill it, and connect to it."""
    package = Path(str(import_module(f"tracelab.services.{SERVICES[name]}").__file__))
    database = Database(
        url_of(platform, name), roles_of(platform, name), target=name, migrations=package.with_name("migrations")
    )
    database._migrate()
    connections = {role: psycopg.connect(url_of(platform, name, role), autocommit=True) for role in Role}
    for statement in SEEDS[name].split(";"):
        connections[Role.OWNER].execute(written(statement))
    return Store(name=name, connections=connections)


def cases(table: Mapping[str, Mapping[str, Any]]) -> pytest.MarkDecorator:
    """Return what parametrizes a test by the statements of all databases."""
    return pytest.mark.parametrize(
        ("name", "statement", "expected"),
        [(name, statement, expected) for name, rows in table.items() for statement, expected in rows.items()],
        ids=lambda value: value if isinstance(value, str) else "",
    )


every_database = pytest.mark.parametrize("name", SERVICES)


@cases(ATTEMPTS)
def test_a_row_is_for_whom_it_is(
    stores: Mapping[str, Store], name: str, statement: str, expected: tuple[int, int, int, int]
) -> None:
    """The service's role sees and changes, for somebody, what is theirs and what they may see; for nobody, nothing."""
    assert tuple(stores[name].tried(Role.SERVICE, statement, user=user) for user in WHO) == expected


@cases(BY_SYSTEM)
def test_what_belongs_to_no_user_is_no_more_than_that(
    stores: Mapping[str, Store], name: str, statement: str, expected: tuple[int, int]
) -> None:
    """The second role changes nobody's words; what people left it deletes once they are gone, and not before."""
    store = stores[name]
    gone = "ann" if "departed" in store.tables else None
    assert (store.tried(Role.SYSTEM, statement), store.tried(Role.SYSTEM, statement, gone=gone)) == expected


@every_database
def test_saying_who_asks_gives_the_second_role_nothing(stores: Mapping[str, Store], name: str) -> None:
    """Policies are for one role each: those of people are not the second role's."""
    for statement in BY_SYSTEM[name]:
        store = stores[name]
        assert store.tried(Role.SYSTEM, statement, user="ann") == store.tried(Role.SYSTEM, statement)


@every_database
def test_every_table_has_its_rows_secured(stores: Mapping[str, Store], name: str) -> None:
    """None is forgotten, now or by the next migration, and each is tried above."""
    store = stores[name]
    found = store.connections[Role.OWNER].execute(
        "SELECT relname FROM pg_class WHERE relrowsecurity AND relnamespace = CAST('public' AS regnamespace)"
    )
    assert {table for (table,) in found} == set(store.tables)
    tried = " ".join(ATTEMPTS[name])
    assert [table for table in store.tables if table not in tried] == []
    granted = store.connections[Role.OWNER].execute(
        "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC' AND table_schema = 'public'"
    )
    assert granted.fetchone() == (0,)


@every_database
@pytest.mark.parametrize("role", USERS, ids=lambda role: role.name)
def test_a_role_is_nothing_special(stores: Mapping[str, Store], name: str, role: Role) -> None:
    """No superuser, no way around row security, a member of no other role, and the owner of nothing at all."""
    connection = stores[name].connections[role]
    attributes = connection.execute(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles"
        " WHERE rolname = CURRENT_USER"
    )
    assert attributes.fetchone() == (False, False, False, False, False)
    member = "SELECT count(*) FROM pg_auth_members WHERE member = CAST(CURRENT_USER AS regrole)"
    assert connection.execute(member).fetchone() == (0,)
    owned = (
        "SELECT count(*) FROM pg_shdepend WHERE deptype = 'o' AND refclassid = CAST('pg_authid' AS regclass)"
        " AND refobjid = CAST(CURRENT_USER AS regrole)"
    )
    assert connection.execute(owned).fetchone() == (0,)


@every_database
@pytest.mark.parametrize("role", USERS, ids=lambda role: role.name)
def test_nobody_gets_around_it(stores: Mapping[str, Store], name: str, role: Role) -> None:
    """Neither by becoming somebody else, nor by a thing of one's own, nor by changing what is there."""
    store = stores[name]
    database = name.replace("-", "_")
    statements = [escape.format(database=database) for escape in ESCAPES]
    policies = store.connections[Role.OWNER].execute("SELECT tablename, max(policyname) FROM pg_policies GROUP BY 1")
    statements += [e.format(table=table, policy=policy) for table, policy in policies for e in ESCAPES_OF_A_TABLE]
    assert len(statements) == len(ESCAPES) + len(ESCAPES_OF_A_TABLE) * len(store.tables)
    if role is Role.SYSTEM:
        statements.remove(f"SET ROLE {database}_system")  # itself
    assert [s for s in statements if not is_refused(store.connections[role], s)] == []


def is_refused(connection: psycopg.Connection[Any], statement: str) -> bool:
    """Try a statement, of which nothing is left."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


@every_database
def test_row_security_that_is_switched_off_gives_errors_and_no_rows(stores: Mapping[str, Store], name: str) -> None:
    """Whoever may not go around it may ask to be told where it would have hidden something."""
    store = stores[name]
    connection = store.connections[Role.SERVICE]
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL row_security = off")
        for table in store.tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table)))


@every_database
def test_who_asks_is_forgotten_with_the_transaction(stores: Mapping[str, Store], name: str) -> None:
    """What the pool gives a connection to next starts as nobody; what is no id is an error, and not somebody."""
    connection = stores[name].connections[Role.SERVICE]
    with connection.transaction():
        connection.execute("SELECT set_config('app.user_id', %s, true)", (IDS["ann"],))
        assert connection.execute("SELECT app_user()").fetchone() == (uuid.UUID(IDS["ann"]),)
    assert connection.execute("SELECT app_user()").fetchone() == (None,)
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('app.user_id', 'ann'' OR true --', true)")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT app_user()")
