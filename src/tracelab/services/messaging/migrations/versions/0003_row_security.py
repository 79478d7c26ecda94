"""Who may do what: members read and write their conversations, and nobody else does.

Revision ID: 0003
"""

from tracelab.services.kit.rowsecurity import ANY, ME, PERSON, SOMEBODY, SYSTEM, Allow, protect, unprotect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("conversations", "members", "messages", "departed")
_MINE = "ANY (CAST((SELECT my_conversations()) AS uuid[]))"
_GONE = "IN (SELECT user_id FROM departed)"
_ALLOWED = (
    Allow(table="conversations", role=PERSON, command="SELECT", rows=f"id = {_MINE}"),
    Allow(table="conversations", role=PERSON, command="INSERT", rows=SOMEBODY),
    Allow(table="members", role=PERSON, command="SELECT", rows=f"conversation_id = {_MINE}"),
    # All at once, when it begins: nobody joins a conversation of others.
    Allow(table="members", role=PERSON, command="INSERT", rows=f"{SOMEBODY} AND is_empty(conversation_id)"),
    Allow(table="members", role=PERSON, command="UPDATE", rows=f"user_id = {ME}", columns="read_id"),
    Allow(table="messages", role=PERSON, command="SELECT", rows=f"conversation_id = {_MINE}"),
    # Members alone: their foreign key sees to it.
    Allow(table="messages", role=PERSON, command="INSERT", rows=f"sender_id = {ME}"),
    Allow(table="departed", role=PERSON, command="SELECT", rows=SOMEBODY),
    # What an instance missed, and people who are gone.
    Allow(table="conversations", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="conversations", role=SYSTEM, command="UPDATE", rows=ANY, columns="direct_key"),
    Allow(
        table="conversations",
        role=SYSTEM,
        command="DELETE",
        rows="is_empty(id)",
    ),
    Allow(table="members", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="members", role=SYSTEM, command="DELETE", rows=f"user_id {_GONE}"),
    Allow(table="messages", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="departed", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="departed", role=SYSTEM, command="INSERT", rows=ANY),
)
# A policy of members cannot ask members, which would ask it again: the owner looks, for whoever asks and for no other.
_FUNCTIONS = (
    """
    CREATE FUNCTION my_conversations() RETURNS uuid[] LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
    RETURN (SELECT coalesce(array_agg(conversation_id), '{}') FROM members WHERE user_id = app_user())
    """,
    """
    CREATE FUNCTION is_empty(conversation uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = public
    RETURN NOT EXISTS (SELECT FROM members WHERE conversation_id = conversation)
    """,
)


def upgrade() -> None:
    protect(_TABLES, _ALLOWED, functions=_FUNCTIONS)


def downgrade() -> None:
    unprotect(_TABLES, _ALLOWED, functions=("my_conversations()", "is_empty(uuid)"))
