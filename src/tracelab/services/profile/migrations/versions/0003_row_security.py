"""Who may do what: everybody logged in reads profiles and follows; people change their own.

Revision ID: 0003
"""

from alembic import op

from tracelab.services.kit.rowsecurity import ANY, ME, PERSON, SOMEBODY, SYSTEM, Allow, grant, protect, unprotect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("profiles", "follows", "departed", "outbox")
_CHANGING = "display_name, bio, avatar_id, updated_at"
_GONE = "IN (SELECT user_id FROM departed)"
_ALLOWED = (
    Allow(table="profiles", role=PERSON, command="SELECT", rows=SOMEBODY),
    Allow(table="profiles", role=PERSON, command="INSERT", rows=f"user_id = {ME}"),
    Allow(
        table="profiles",
        role=PERSON,
        command="UPDATE",
        rows=f"user_id = {ME}",
        columns=_CHANGING,
    ),
    Allow(table="follows", role=PERSON, command="SELECT", rows=SOMEBODY),
    Allow(table="follows", role=PERSON, command="INSERT", rows=f"follower_id = {ME}"),
    Allow(table="follows", role=PERSON, command="DELETE", rows=f"follower_id = {ME}"),
    Allow(table="departed", role=PERSON, command="SELECT", rows=f"user_id = {ME}"),
    # Somebody's follows are told, and nobody's departure.
    Allow(
        table="outbox",
        role=PERSON,
        command="INSERT",
        rows=f"topic = 'follow.changed' AND CAST(payload ->> 'follower_id' AS uuid) = {ME}",
    ),
    # The deletion of an account, and the outbox.
    Allow(table="profiles", role=SYSTEM, command="SELECT", rows=f"user_id {_GONE}"),
    Allow(table="profiles", role=SYSTEM, command="DELETE", rows=f"user_id {_GONE}"),
    Allow(table="follows", role=SYSTEM, command="SELECT", rows=f"follower_id {_GONE} OR followed_id {_GONE}"),
    Allow(table="follows", role=SYSTEM, command="DELETE", rows=f"follower_id {_GONE} OR followed_id {_GONE}"),
    Allow(table="departed", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="departed", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="UPDATE", rows=ANY, columns="due_at, attempts"),
    Allow(table="outbox", role=SYSTEM, command="DELETE", rows=ANY),
)
# Everybody who is there, for a search: what a row policy lets through is compared by leakproof operators alone, which
# lower() and those of trigrams are not, and then no index of them is used. Its owner reads the table, nobody a row
# before somebody is said to ask.
_PEOPLE = f"""
    CREATE VIEW people AS
    SELECT user_id, username, display_name, bio, avatar_id, created_at, updated_at, search
    FROM profiles WHERE {SOMEBODY}
"""  # noqa: S608 - no input is in it


def upgrade() -> None:
    protect(_TABLES, _ALLOWED)
    op.execute(_PEOPLE)
    grant("SELECT ON people", role=PERSON)


def downgrade() -> None:
    op.execute("DROP VIEW people")
    unprotect(_TABLES, _ALLOWED)
