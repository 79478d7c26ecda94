"""Posts and likes.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Ids are UUIDv7, so their order is the order of time, and a page needs no other index.
    op.execute(
        """
        CREATE TABLE posts (
            id uuid PRIMARY KEY,
            author_id uuid NOT NULL,
            text text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 1000),
            media_id uuid,
            created_at timestamptz NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX posts_of_author ON posts (author_id, id DESC)")
    op.execute(
        """
        CREATE TABLE likes (
            post_id uuid NOT NULL REFERENCES posts (id) ON DELETE CASCADE,
            user_id uuid NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (post_id, user_id)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE likes")
    op.execute("DROP TABLE posts")
