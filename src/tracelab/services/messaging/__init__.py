"""Messages over Socket.IO: stored, published, and pushed by every instance to its own sockets."""
