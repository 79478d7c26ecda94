"""SQL of profile."""

from typing import Final

from sqlalchemy import text

from tracelab.services.kit.outbox import ENQUEUE

_COLUMNS: Final = "user_id::text, username, display_name, bio, avatar_id::text, created_at, updated_at"

# Told twice, it is stored once; the update that changes nothing makes the row come back.
CREATE: Final = text(
    f"""
    INSERT INTO profiles (user_id, username, display_name)
    SELECT CAST(:user_id AS uuid), :username, :display_name
    WHERE NOT EXISTS (SELECT FROM departed WHERE user_id = CAST(:user_id AS uuid))
    ON CONFLICT (user_id) DO UPDATE SET updated_at = profiles.updated_at
    RETURNING {_COLUMNS}
    """  # noqa: S608 - no input is in it
)
GET: Final = text(
    f"SELECT {_COLUMNS} FROM profiles WHERE user_id = CAST(:user_id AS uuid)"  # noqa: S608 - no input is in it
)
UPDATE: Final = text(
    f"""
    UPDATE profiles SET display_name = coalesce(:display_name, display_name), bio = coalesce(:bio, bio),
        avatar_id = CASE WHEN :is_avatar_new THEN CAST(:avatar_id AS uuid) ELSE avatar_id END, updated_at = now()
    WHERE user_id = CAST(:user_id AS uuid)
    RETURNING {_COLUMNS}
    """  # noqa: S608 - no input is in it
)
# The parcel goes with the follow in one round trip. Whoever has left follows nobody any more.
FOLLOW: Final = text(
    f"""
    WITH followed AS (
        INSERT INTO follows (follower_id, followed_id)
        SELECT CAST(:follower AS uuid), CAST(:followed AS uuid)
        WHERE NOT EXISTS (SELECT FROM departed WHERE user_id = CAST(:follower AS uuid))
        ON CONFLICT DO NOTHING
    )
    {ENQUEUE}
    """  # noqa: S608 - no input is in it
)
UNFOLLOW: Final = text(
    f"""
    WITH unfollowed AS (
        DELETE FROM follows WHERE follower_id = CAST(:follower AS uuid) AND followed_id = CAST(:followed AS uuid)
    )
    {ENQUEUE}
    """  # noqa: S608 - no input is in it
)
FOLLOWING: Final = text(
    "SELECT followed_id::text FROM follows WHERE follower_id = CAST(:user_id AS uuid) ORDER BY followed_id"
)
FOLLOWERS: Final = text(
    "SELECT follower_id::text FROM follows WHERE followed_id = CAST(:user_id AS uuid) ORDER BY follower_id"
)
DEPART: Final = text("INSERT INTO departed (user_id) VALUES (CAST(:user_id AS uuid)) ON CONFLICT DO NOTHING")
LEAVE_FOLLOWED: Final = text(
    "DELETE FROM follows WHERE follower_id = CAST(:user_id AS uuid) RETURNING followed_id::text"
)
LEAVE_FOLLOWERS: Final = text(
    "DELETE FROM follows WHERE followed_id = CAST(:user_id AS uuid) RETURNING follower_id::text"
)
LEAVE: Final = text("DELETE FROM profiles WHERE user_id = CAST(:user_id AS uuid)")
ENQUEUE_ALONE: Final = text(ENQUEUE)

# Three tiers, each in an order of its own that a cursor can continue: user names that begin with the query,
# display names that do, and what is like it by its trigrams. A tier is looked at only where those before it
# did not fill the page. Ranges and operators, and no LIKE: a plan that is made for any query must use the
# indexes too. Two letters make no trigram worth searching for.
SEARCH: Final = text(
    f"""
    WITH by_username AS MATERIALIZED (
        SELECT {_COLUMNS}, 0 AS tier, lower(username) COLLATE "C" AS rank, 0 AS distance FROM people
        WHERE :tier = 0 AND lower(username) COLLATE "C" < CAST(:end AS text)
            AND lower(username) COLLATE "C" >= CAST(:query AS text)
            AND (lower(username) COLLATE "C", user_id) > (CAST(:username AS text), CAST(:username_id AS uuid))
        ORDER BY lower(username) COLLATE "C", people.user_id LIMIT :limit
    ), by_display_name AS MATERIALIZED (
        SELECT {_COLUMNS}, 1 AS tier, lower(display_name) COLLATE "C" AS rank, 0 AS distance FROM people
        WHERE :tier <= 1 AND (SELECT count(*) FROM by_username) < :limit
            AND lower(display_name) COLLATE "C" < CAST(:end AS text)
            AND lower(display_name) COLLATE "C" >= CAST(:query AS text)
            AND (lower(display_name) COLLATE "C", user_id)
                > (CAST(:display_name AS text), CAST(:display_name_id AS uuid))
            AND NOT starts_with(lower(username), CAST(:query AS text))
        ORDER BY lower(display_name) COLLATE "C", people.user_id LIMIT :limit
    ), alike AS MATERIALIZED (
        SELECT {_COLUMNS}, 2 AS tier, '' COLLATE "C" AS rank, distance FROM people CROSS JOIN LATERAL (
            SELECT CAST(1000000 * (1 - greatest(
                word_similarity(CAST(:query AS text), search), similarity(search, CAST(:query AS text))
            )) AS integer) AS distance
        ) measured
        WHERE (SELECT count(*) FROM by_username) + (SELECT count(*) FROM by_display_name) < :limit
            AND char_length(CAST(:query AS text)) > 2
            AND (search %> CAST(:query AS text) OR search % CAST(:query AS text))
            AND (distance, user_id) > (:distance, CAST(:distance_id AS uuid))
            AND NOT starts_with(lower(username), CAST(:query AS text))
            AND NOT starts_with(lower(display_name), CAST(:query AS text))
        ORDER BY distance, people.user_id LIMIT :limit
    )
    SELECT * FROM by_username UNION ALL SELECT * FROM by_display_name UNION ALL SELECT * FROM alike
    ORDER BY tier, rank, distance, user_id LIMIT :limit
    """  # noqa: S608 - no input is in it
)
