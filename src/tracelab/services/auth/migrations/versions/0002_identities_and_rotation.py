"""Identities at providers, refresh tokens, ended sessions that the cache may still have, and keys with a time.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users ALTER COLUMN password_hash DROP NOT NULL")
    op.execute(
        """
        CREATE TABLE identities (
            provider text NOT NULL,
            subject text NOT NULL,
            user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (provider, subject)
        )
        """
    )
    op.execute("CREATE INDEX identities_of_user ON identities (user_id)")
    # A session from before has no refresh token: nothing hashes to an empty text.
    op.execute("ALTER TABLE sessions ADD COLUMN refresh_hash text NOT NULL DEFAULT ''")
    op.execute(
        """
        CREATE TABLE ended_sessions (
            id uuid PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("ALTER TABLE signing_keys ADD COLUMN signs_from timestamptz NOT NULL DEFAULT now()")
    op.execute("ALTER TABLE signing_keys ADD COLUMN gone_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE signing_keys DROP COLUMN gone_at, DROP COLUMN signs_from")
    op.execute("DROP TABLE ended_sessions")
    op.execute("ALTER TABLE sessions DROP COLUMN refresh_hash")
    op.execute("DROP TABLE identities")
    op.execute("DELETE FROM users WHERE password_hash IS NULL")
    op.execute("ALTER TABLE users ALTER COLUMN password_hash SET NOT NULL")
