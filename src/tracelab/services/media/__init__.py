"""Images: streamed upload, thumbnails, serving with ranges, URLs in batches."""
