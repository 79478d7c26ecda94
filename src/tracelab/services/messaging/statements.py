"""The SQL of messaging. Every read is one statement, so that a slow database is waited for once."""

from typing import Final

from sqlalchemy import text

NEWEST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"

_MESSAGE = """
    messages.id::text, messages.conversation_id::text, messages.sender_id::text, messages.client_id, messages.body,
    messages.created_at
"""
_CONVERSATION = """
    conversations.id::text AS conversation, conversations.created_at AS began, conversations.title,
    conversations.is_group, people.ids AS members
"""
_PEOPLE = """
    CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids
        FROM members WHERE members.conversation_id = conversations.id
    ) people
"""

# No columns in conflict are named, which would have to be read: whether the sender is a member the foreign key knows.
INSERT: Final = text(
    """
    INSERT INTO messages (
        id, conversation_id, sender_id, client_id, body, created_at, traceparent, tracestate, baggage
    )
    VALUES (
        CAST(:id AS uuid), CAST(:conversation_id AS uuid), CAST(:sender_id AS uuid), :client_id, :body,
        CAST(:created_at AS timestamptz), :traceparent, :tracestate, :baggage
    )
    ON CONFLICT DO NOTHING
    """
)
SENT_BEFORE: Final = text(
    f"SELECT {_MESSAGE} FROM messages WHERE sender_id = CAST(:sender_id AS uuid) AND client_id = :client_id"
)
# No row: not a member. One row without an id: a member of a conversation in which nothing was said (before).
HISTORY: Final = text(
    f"""
    SELECT page.*
    FROM (
        SELECT {_MESSAGE}, messages.id AS position
        FROM messages WHERE conversation_id = CAST(:conversation_id AS uuid) AND id < CAST(:before AS uuid)
        ORDER BY messages.id DESC LIMIT :limit
    ) page
    RIGHT JOIN members ON true
    WHERE members.conversation_id = CAST(:conversation_id AS uuid) AND members.user_id = CAST(:user_id AS uuid)
    ORDER BY page.position DESC
    """
)
MISSED: Final = text(
    f"""
    SELECT {_MESSAGE}, messages.traceparent, messages.tracestate, messages.baggage, people.ids AS members
    FROM messages CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids
        FROM members WHERE members.conversation_id = messages.conversation_id
    ) people
    WHERE messages.id > CAST(:after AS uuid) AND messages.conversation_id IN (
        SELECT mine.conversation_id FROM members AS mine WHERE mine.user_id = ANY(CAST(:users AS uuid[]))
    )
    ORDER BY messages.id LIMIT :limit
    """
)
BY_ID: Final = text(f"SELECT {_CONVERSATION} FROM conversations {_PEOPLE} WHERE conversations.id = CAST(:id AS uuid)")
BY_KEY: Final = text(
    f"SELECT {_CONVERSATION} FROM conversations {_PEOPLE} WHERE conversations.direct_key = :direct_key"
)
BEGIN: Final = text(
    """
    INSERT INTO conversations (id, direct_key, title, is_group, created_at)
    SELECT CAST(:id AS uuid), :direct_key, :title, :is_group, CAST(:created_at AS timestamptz)
    WHERE NOT EXISTS (SELECT FROM departed WHERE user_id = ANY(CAST(:members AS uuid[])))
    ON CONFLICT DO NOTHING
    """
)
JOIN: Final = text(
    """
    INSERT INTO members (conversation_id, user_id)
    SELECT CAST(:id AS uuid), unnest(CAST(:members AS uuid[]))
    """
)
# Unread messages and members are looked up for the conversations of the page alone.
MINE: Final = text(
    f"""
    SELECT page.*, people.ids AS members, people.read, unread.count AS unread
    FROM (
        SELECT conversations.id AS key, conversations.id::text AS conversation, conversations.created_at AS began,
            conversations.title, conversations.is_group, mine.read_id, newest.*
        FROM conversations JOIN members AS mine
            ON mine.conversation_id = conversations.id AND mine.user_id = CAST(:user_id AS uuid)
        LEFT JOIN LATERAL (
            SELECT {_MESSAGE}, messages.id AS newest_id
            FROM messages WHERE messages.conversation_id = conversations.id ORDER BY messages.id DESC LIMIT 1
        ) newest ON true
        WHERE coalesce(newest.newest_id, conversations.id) < CAST(:before AS uuid)
        ORDER BY coalesce(newest.newest_id, conversations.id) DESC LIMIT :limit
    ) page
    CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids,
            jsonb_object_agg(user_id, read_id) FILTER (WHERE read_id IS NOT NULL) AS read
        FROM members WHERE members.conversation_id = page.key
    ) people
    CROSS JOIN LATERAL (
        SELECT count(*) AS count FROM (
            SELECT FROM messages
            WHERE messages.conversation_id = page.key
                AND messages.id > coalesce(page.read_id, CAST('00000000-0000-0000-0000-000000000000' AS uuid))
                AND messages.sender_id IS DISTINCT FROM CAST(:user_id AS uuid)
            LIMIT :most
        ) counted
    ) unread
    ORDER BY coalesce(page.newest_id, page.key) DESC
    """
)
READ: Final = text(
    """
    UPDATE members SET read_id = messages.id
    FROM messages
    WHERE members.conversation_id = CAST(:conversation_id AS uuid) AND members.user_id = CAST(:user_id AS uuid)
        AND messages.id = CAST(:message_id AS uuid) AND messages.conversation_id = members.conversation_id
        AND (members.read_id IS NULL OR members.read_id < messages.id)
    """
)
IS_THERE: Final = text(
    """
    SELECT true FROM messages WHERE id = CAST(:message_id AS uuid) AND conversation_id = CAST(:conversation_id AS uuid)
    """
)
CONTACTS: Final = text(
    """
    SELECT DISTINCT others.user_id::text AS id
    FROM members AS mine JOIN members AS others ON others.conversation_id = mine.conversation_id
    WHERE mine.user_id = CAST(:user_id AS uuid) AND others.user_id <> mine.user_id
    LIMIT :limit
    """
)
# In this order, in one transaction: nothing new begins; nobody finds the old by their name; they are members of
# nothing, whereupon the database takes their name from what they wrote; what has no member left is nobody's.
DEPART: Final = text("INSERT INTO departed (user_id) VALUES (CAST(:user_id AS uuid)) ON CONFLICT DO NOTHING")
UNNAME: Final = text(
    """
    UPDATE conversations SET direct_key = NULL
    FROM members WHERE members.conversation_id = conversations.id AND members.user_id = CAST(:user_id AS uuid)
        AND direct_key IS NOT NULL
    """
)
LEAVE: Final = text("DELETE FROM members WHERE user_id = CAST(:user_id AS uuid) RETURNING conversation_id::text")
ABANDON: Final = text(
    """
    DELETE FROM conversations WHERE id = ANY(CAST(:ids AS uuid[]))
        AND NOT EXISTS (SELECT FROM members WHERE members.conversation_id = conversations.id)
    """
)
