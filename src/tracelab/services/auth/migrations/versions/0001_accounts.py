"""Accounts, sessions, signing keys, and profiles that are still to be delivered.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE users (
            id uuid PRIMARY KEY,
            username text NOT NULL,
            email text NOT NULL,
            password_hash text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("CREATE UNIQUE INDEX users_username ON users (lower(username))")
    op.execute("CREATE UNIQUE INDEX users_email ON users (lower(email))")
    op.execute(
        """
        CREATE TABLE sessions (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            expires_at timestamptz NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX sessions_of_user ON sessions (user_id)")
    op.execute(
        """
        CREATE TABLE signing_keys (
            kid text PRIMARY KEY,
            private_pem text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        """
        CREATE TABLE outbox (
            user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
            username text NOT NULL,
            display_name text NOT NULL,
            traceparent text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


def downgrade() -> None:
    for table in ("outbox", "signing_keys", "sessions", "users"):
        op.execute(f"DROP TABLE {table}")
