"""Comments, several media in a post, edits, who has left, and what others must still learn.

Revision ID: 0002
"""

from alembic import op

from tracelab.services.kit import outbox

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE posts ADD media_ids uuid[] NOT NULL DEFAULT '{}', ADD edited_at timestamptz")
    op.execute("UPDATE posts SET media_ids = ARRAY[media_id] WHERE media_id IS NOT NULL")
    op.execute("ALTER TABLE posts DROP media_id")
    op.execute(
        """
        CREATE TABLE comments (
            id uuid PRIMARY KEY,
            post_id uuid NOT NULL REFERENCES posts (id) ON DELETE CASCADE,
            author_id uuid NOT NULL,
            text text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 500),
            created_at timestamptz NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX comments_of_post ON comments (post_id, id DESC)")
    # What goes when a person goes.
    op.execute("CREATE INDEX comments_of_author ON comments (author_id)")
    op.execute("CREATE INDEX likes_of_user ON likes (user_id)")
    # A token outlives its owner's account by seconds: nothing new may come from it.
    op.execute("CREATE TABLE departed (user_id uuid PRIMARY KEY, left_at timestamptz NOT NULL DEFAULT now())")
    for statement in outbox.SCHEMA:
        op.execute(statement)


def downgrade() -> None:
    for table in ("outbox", "departed", "comments"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX likes_of_user")
    op.execute("ALTER TABLE posts ADD media_id uuid")
    op.execute("UPDATE posts SET media_id = media_ids[1]")
    op.execute("ALTER TABLE posts DROP media_ids, DROP edited_at")
