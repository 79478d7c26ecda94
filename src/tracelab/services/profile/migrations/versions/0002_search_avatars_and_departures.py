"""Search, avatars, who has left, and what others must still learn.

Revision ID: 0002
"""

from alembic import op

from tracelab.services.kit import outbox

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute(
        """
        ALTER TABLE profiles ADD avatar_id uuid,
            ADD search text NOT NULL GENERATED ALWAYS AS (lower(username || ' ' || display_name)) STORED
        """
    )
    # In the C collation the order of an index is that of its bytes, so a prefix is a range.
    op.execute("""CREATE INDEX profiles_by_username ON profiles (lower(username) COLLATE "C", user_id)""")
    op.execute("""CREATE INDEX profiles_by_display_name ON profiles (lower(display_name) COLLATE "C", user_id)""")
    op.execute("CREATE INDEX profiles_by_trigrams ON profiles USING gin (search gin_trgm_ops)")
    # An account may be deleted before its profile was created: it is not created any more then.
    op.execute("CREATE TABLE departed (user_id uuid PRIMARY KEY, left_at timestamptz NOT NULL DEFAULT now())")
    for statement in outbox.SCHEMA:
        op.execute(statement)


def downgrade() -> None:
    for table in ("outbox", "departed"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX profiles_by_username")
    op.execute("DROP INDEX profiles_by_display_name")
    op.execute("ALTER TABLE profiles DROP search, DROP avatar_id")
