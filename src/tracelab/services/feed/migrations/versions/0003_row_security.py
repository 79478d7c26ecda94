"""Who may do what: everybody logged in reads posts, likes and comments; people write and change their own.

Revision ID: 0003
"""

from tracelab.services.kit.rowsecurity import ANY, ME, PERSON, SOMEBODY, SYSTEM, Allow, protect, unprotect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("posts", "likes", "comments", "departed", "outbox")
_GONE = "IN (SELECT user_id FROM departed)"
_ALLOWED = (
    Allow(table="posts", role=PERSON, command="SELECT", rows=SOMEBODY),
    Allow(table="posts", role=PERSON, command="INSERT", rows=f"author_id = {ME}"),
    Allow(table="posts", role=PERSON, command="UPDATE", rows=f"author_id = {ME}", columns="text, media_ids, edited_at"),
    Allow(table="posts", role=PERSON, command="DELETE", rows=f"author_id = {ME}"),
    Allow(table="likes", role=PERSON, command="SELECT", rows=SOMEBODY),
    Allow(table="likes", role=PERSON, command="INSERT", rows=f"user_id = {ME}"),
    Allow(table="likes", role=PERSON, command="DELETE", rows=f"user_id = {ME}"),
    Allow(table="comments", role=PERSON, command="SELECT", rows=SOMEBODY),
    Allow(table="comments", role=PERSON, command="INSERT", rows=f"author_id = {ME}"),
    Allow(table="departed", role=PERSON, command="SELECT", rows=f"user_id = {ME}"),
    Allow(
        table="outbox",
        role=PERSON,
        command="INSERT",
        rows=f"topic = 'post.changed' AND CAST(payload ->> 'author_id' AS uuid) = {ME}",
    ),
    # The deletion of what somebody left who has gone, and the outbox.
    Allow(table="posts", role=SYSTEM, command="SELECT", rows=f"author_id {_GONE}"),
    Allow(table="posts", role=SYSTEM, command="DELETE", rows=f"author_id {_GONE}"),
    Allow(table="likes", role=SYSTEM, command="SELECT", rows=f"user_id {_GONE}"),
    Allow(table="likes", role=SYSTEM, command="DELETE", rows=f"user_id {_GONE}"),
    Allow(table="comments", role=SYSTEM, command="SELECT", rows=f"author_id {_GONE}"),
    Allow(table="comments", role=SYSTEM, command="DELETE", rows=f"author_id {_GONE}"),
    Allow(table="departed", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="departed", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="UPDATE", rows=ANY, columns="due_at, attempts"),
    Allow(table="outbox", role=SYSTEM, command="DELETE", rows=ANY),
)


def upgrade() -> None:
    protect(_TABLES, _ALLOWED)


def downgrade() -> None:
    unprotect(_TABLES, _ALLOWED)
