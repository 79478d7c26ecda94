"""Who may read and change which rows, as migrations say it: grants and row policies, each for one of two roles.

`PERSON` is the service's role while it serves somebody (`tracelab.services.kit.person`), `SYSTEM` the one for what
belongs to nobody: logins, outboxes, deletions. Neither owns a table; what is not allowed here is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from alembic import op

PERSON: Final = "person"
SYSTEM: Final = "system"
ME: Final = "(SELECT app_user())"  # a subquery, so that it is asked for once a statement and not once a row
SOMEBODY: Final = f"{ME} IS NOT NULL"
ANY: Final = "true"

_FUNCTION: Final = """
    CREATE FUNCTION app_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CAST(nullif(current_setting('app.user_id', true), '') AS uuid)
"""
_CHECKED: Final = {"INSERT": "WITH CHECK", "SELECT": "USING", "UPDATE": "USING", "DELETE": "USING"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """One role may do one thing to the rows of a table for which `rows`, a condition, holds.

    Of an UPDATE the condition holds before and after. `columns`, separated by commas, are all that may be read or
    changed; none: every column.
    """

    table: str
    role: str
    command: Literal["SELECT", "INSERT", "UPDATE", "DELETE"]
    rows: str
    columns: str = ""


def protect(tables: Iterable[str], allowed: Iterable[Allow], *, functions: Iterable[str] = ()) -> None:
    """Close tables to both roles, but for what is allowed; `functions` are created that its conditions ask."""
    for function in (_FUNCTION, *functions):
        op.execute(function)
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for allow in allowed:
        role = _name(allow.role)
        columns = f" ({allow.columns})" if allow.columns else ""
        op.execute(f"GRANT {allow.command}{columns} ON {allow.table} TO {role}")
        op.execute(
            f"CREATE POLICY {allow.role}_{allow.command.lower()} ON {allow.table} FOR {allow.command} TO {role}"
            f" {_CHECKED[allow.command]} ({allow.rows})"
        )


def unprotect(tables: Iterable[str], allowed: Iterable[Allow], *, functions: Iterable[str] = ()) -> None:
    """Undo `protect`; `functions` by name and types."""
    for allow in allowed:
        op.execute(f"DROP POLICY {allow.role}_{allow.command.lower()} ON {allow.table}")
        op.execute(f"REVOKE {allow.command} ON {allow.table} FROM {_name(allow.role)}")
    for table in tables:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for function in functions:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION app_user()")


def grant(what: str, *, role: str) -> None:
    """Grant a role something that is no row of a table, e.g. ``SELECT ON a_view``."""
    op.execute(f"GRANT {what} TO {_name(role)}")


def _name(role: str) -> str:
    name: str = op.get_context().opts["roles"][role]
    return f'"{name}"'
