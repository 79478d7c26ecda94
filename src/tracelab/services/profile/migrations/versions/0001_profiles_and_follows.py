"""Profiles, and who follows whom.

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
        CREATE TABLE profiles (
            user_id uuid PRIMARY KEY,
            username text NOT NULL,
            display_name text NOT NULL,
            bio text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    # Who follows may have a profile that is still to be delivered; who is followed has been seen.
    op.execute(
        """
        CREATE TABLE follows (
            follower_id uuid NOT NULL,
            followed_id uuid NOT NULL REFERENCES profiles (user_id) ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (follower_id, followed_id),
            CHECK (follower_id <> followed_id)
        )
        """
    )
    op.execute("CREATE INDEX follows_of_followed ON follows (followed_id, follower_id)")


def downgrade() -> None:
    op.execute("DROP TABLE follows")
    op.execute("DROP TABLE profiles")
