"""Conversations, their members, and messages.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `direct_key` is the sorted pair of members: it makes the one direct conversation of two people unique.
    op.execute(
        """
        CREATE TABLE conversations (
            id uuid PRIMARY KEY,
            direct_key text UNIQUE,
            created_at timestamptz NOT NULL
        )
        """
    )
    op.execute(
        """
        CREATE TABLE members (
            conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
            user_id uuid NOT NULL,
            PRIMARY KEY (conversation_id, user_id)
        )
        """
    )
    op.execute("CREATE INDEX members_of_user ON members (user_id, conversation_id)")
    # Ids are UUIDv7: their order is the order of time. `traceparent` lets a delivery that found its message
    # here, and not on the channel, name the span that sent it.
    op.execute(
        """
        CREATE TABLE messages (
            id uuid PRIMARY KEY,
            conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
            sender_id uuid NOT NULL,
            client_id text NOT NULL,
            body text NOT NULL CHECK (char_length(body) BETWEEN 1 AND 4000),
            created_at timestamptz NOT NULL,
            traceparent text NOT NULL DEFAULT '',
            UNIQUE (sender_id, client_id)
        )
        """
    )
    op.execute("CREATE INDEX messages_of_conversation ON messages (conversation_id, id DESC)")


def downgrade() -> None:
    op.execute("DROP TABLE messages")
    op.execute("DROP TABLE members")
    op.execute("DROP TABLE conversations")
