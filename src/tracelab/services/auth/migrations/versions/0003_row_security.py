"""Who may do what: a person sees their own account and ends their own sessions; the rest belongs to nobody yet.

Revision ID: 0003
"""

from tracelab.services.kit.rowsecurity import ANY, ME, PERSON, SYSTEM, Allow, protect, unprotect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("users", "identities", "sessions", "ended_sessions", "signing_keys", "outbox")
_ALLOWED = (
    # Hashes of passwords and refresh tokens are nobody's to read but a login's.
    Allow(table="users", role=PERSON, command="SELECT", rows=f"id = {ME}", columns="id, username, email"),
    Allow(table="sessions", role=PERSON, command="SELECT", rows=f"user_id = {ME}", columns="id, user_id"),
    Allow(table="sessions", role=PERSON, command="DELETE", rows=f"user_id = {ME}"),
    Allow(table="ended_sessions", role=PERSON, command="INSERT", rows="id IN (SELECT id FROM sessions)", columns="id"),
    # Logins, token checks, keys, the outbox and the deletion of accounts.
    Allow(table="users", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="users", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="users", role=SYSTEM, command="DELETE", rows=ANY),
    # What holds an account for a deletion: FOR UPDATE wants to be allowed to change something.
    Allow(table="users", role=SYSTEM, command="UPDATE", rows=ANY, columns="created_at"),
    Allow(table="identities", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="identities", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="sessions", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="sessions", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="sessions", role=SYSTEM, command="DELETE", rows=ANY),
    Allow(table="ended_sessions", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="ended_sessions", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="ended_sessions", role=SYSTEM, command="DELETE", rows=ANY),
    Allow(table="signing_keys", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="signing_keys", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="signing_keys", role=SYSTEM, command="UPDATE", rows=ANY, columns="gone_at"),
    Allow(table="signing_keys", role=SYSTEM, command="DELETE", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="SELECT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="INSERT", rows=ANY),
    Allow(table="outbox", role=SYSTEM, command="DELETE", rows=ANY),
)


def upgrade() -> None:
    protect(_TABLES, _ALLOWED)


def downgrade() -> None:
    unprotect(_TABLES, _ALLOWED)
