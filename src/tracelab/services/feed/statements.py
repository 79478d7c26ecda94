"""SQL of feed. Ids are UUIDv7: their order is the order of time."""

from typing import Final

from sqlalchemy import text

from tracelab.services.kit.outbox import ENQUEUE

NEWEST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# What a post is, wherever it is read: counts come from the primary keys and an index, post by post.
_POST: Final = """
    SELECT posts.id::text, author_id::text, text, media_ids::text[], created_at, edited_at, liked.likes, said.comments
    FROM posts
    LEFT JOIN LATERAL (SELECT count(*) AS likes FROM likes WHERE post_id = posts.id) liked ON true
    LEFT JOIN LATERAL (SELECT count(*) AS comments FROM comments WHERE post_id = posts.id) said ON true
"""
# The parcel goes with the post in one round trip. Whoever has left writes nothing any more.
ADD: Final = text(
    f"""
    WITH posted AS (
        INSERT INTO posts (id, author_id, text, media_ids, created_at)
        SELECT CAST(:id AS uuid), CAST(:author_id AS uuid), :text, CAST(:media_ids AS uuid[]),
            CAST(:created_at AS timestamptz)
        WHERE NOT EXISTS (SELECT FROM departed WHERE user_id = CAST(:author_id AS uuid))
        RETURNING id
    ), parcels AS ({ENQUEUE})
    SELECT id FROM posted
    """  # noqa: S608 - no input is in it
)
ENQUEUE_ALONE: Final = text(ENQUEUE)
ONE: Final = text(f"{_POST} WHERE posts.id = CAST(:id AS uuid)")
# Of each author no more than a page is looked at, however much they wrote: the index gives it in order. The
# ids come as an array, so that also a plan made for any limit looks posts up by their key.
PAGE: Final = text(
    f"""
    {_POST} WHERE posts.id = ANY (ARRAY (
        SELECT newest.id FROM unnest(CAST(:authors AS uuid[])) AS author (id)
        CROSS JOIN LATERAL (
            SELECT mine.id FROM posts AS mine WHERE mine.author_id = author.id AND mine.id < CAST(:before AS uuid)
            ORDER BY mine.id DESC LIMIT :limit
        ) newest
        ORDER BY newest.id DESC LIMIT :limit
    ))
    ORDER BY posts.id DESC
    """  # noqa: S608 - no input is in it
)
EDIT: Final = text(
    """
    UPDATE posts SET text = coalesce(CAST(:text AS text), text),
        media_ids = coalesce(CAST(:media_ids AS uuid[]), media_ids), edited_at = CAST(:edited_at AS timestamptz)
    WHERE id = CAST(:id AS uuid) AND author_id = CAST(:author_id AS uuid)
        AND created_at > CAST(:since AS timestamptz)
    RETURNING id
    """
)
REMOVE: Final = text("DELETE FROM posts WHERE id = CAST(:id AS uuid) AND author_id = CAST(:author_id AS uuid)")
LIKE: Final = text(
    """
    INSERT INTO likes (post_id, user_id) SELECT CAST(:post_id AS uuid), CAST(:user_id AS uuid)
    WHERE NOT EXISTS (SELECT FROM departed WHERE user_id = CAST(:user_id AS uuid))
    ON CONFLICT DO NOTHING
    """
)
UNLIKE: Final = text("DELETE FROM likes WHERE post_id = CAST(:post_id AS uuid) AND user_id = CAST(:user_id AS uuid)")
LIKES: Final = text(
    """
    SELECT liked.likes FROM posts
    LEFT JOIN LATERAL (SELECT count(*) AS likes FROM likes WHERE post_id = posts.id) liked ON true
    WHERE posts.id = CAST(:id AS uuid)
    """
)
COMMENT: Final = text(
    """
    INSERT INTO comments (id, post_id, author_id, text, created_at)
    SELECT CAST(:id AS uuid), CAST(:post_id AS uuid), CAST(:author_id AS uuid), :text, CAST(:created_at AS timestamptz)
    WHERE NOT EXISTS (SELECT FROM departed WHERE user_id = CAST(:author_id AS uuid))
    RETURNING id
    """
)
# One statement says both whether there is such a post (one row at least) and what was said to it.
COMMENTS: Final = text(
    """
    SELECT said.* FROM posts LEFT JOIN LATERAL (
        SELECT comments.id::text, comments.post_id::text, comments.author_id::text, comments.text, comments.created_at
        FROM comments WHERE comments.post_id = posts.id AND comments.id < CAST(:before AS uuid)
        ORDER BY comments.id DESC LIMIT :limit
    ) said ON true
    WHERE posts.id = CAST(:post_id AS uuid)
    ORDER BY said.id DESC
    """
)
DEPART: Final = text("INSERT INTO departed (user_id) VALUES (CAST(:user_id AS uuid)) ON CONFLICT DO NOTHING")
FORGET_LIKES: Final = text("DELETE FROM likes WHERE user_id = CAST(:user_id AS uuid)")
FORGET_COMMENTS: Final = text("DELETE FROM comments WHERE author_id = CAST(:user_id AS uuid)")
FORGET_POSTS: Final = text(
    """
    DELETE FROM posts WHERE id = ANY(ARRAY(  -- an array is looked up by the index, whatever statistics say
        SELECT mine.id FROM posts AS mine WHERE mine.author_id = CAST(:user_id AS uuid) LIMIT :limit
    ))
    RETURNING id::text
    """
)
