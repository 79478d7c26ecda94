"""Posts, likes and timelines: a cached first page, and one database read behind a miss."""
