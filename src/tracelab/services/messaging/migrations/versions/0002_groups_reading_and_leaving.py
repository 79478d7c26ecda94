"""Groups, how far each member has read, and people who are gone.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE conversations ADD COLUMN title text CHECK (char_length(title) BETWEEN 1 AND 100)")
    op.execute("ALTER TABLE conversations ADD COLUMN is_group boolean NOT NULL DEFAULT false")
    op.execute("ALTER TABLE members ADD COLUMN read_id uuid")
    # A message keeps its sender only as long as that person is a member. The database itself sees to it: nobody but a
    # member can write, also when an instance remembers members of yesterday, and who leaves is no longer named.
    op.execute("ALTER TABLE messages ALTER COLUMN sender_id DROP NOT NULL")
    op.execute(
        """
        ALTER TABLE messages ADD CONSTRAINT messages_of_members FOREIGN KEY (conversation_id, sender_id)
        REFERENCES members (conversation_id, user_id) ON DELETE SET NULL (sender_id)
        """
    )
    op.execute("ALTER TABLE messages ADD COLUMN tracestate text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE messages ADD COLUMN baggage text NOT NULL DEFAULT ''")
    # Nobody begins a conversation with them, however late the request comes.
    op.execute("CREATE TABLE departed (user_id uuid PRIMARY KEY, left_at timestamptz NOT NULL DEFAULT now())")


def downgrade() -> None:
    op.execute("DROP TABLE departed")
    op.execute("ALTER TABLE messages DROP COLUMN baggage")
    op.execute("ALTER TABLE messages DROP COLUMN tracestate")
    op.execute("ALTER TABLE messages DROP CONSTRAINT messages_of_members")
    op.execute("DELETE FROM messages WHERE sender_id IS NULL")
    op.execute("ALTER TABLE messages ALTER COLUMN sender_id SET NOT NULL")
    op.execute("ALTER TABLE members DROP COLUMN read_id")
    op.execute("ALTER TABLE conversations DROP COLUMN is_group")
    op.execute("ALTER TABLE conversations DROP COLUMN title")
