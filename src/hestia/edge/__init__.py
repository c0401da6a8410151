"""The listener and its connections: bytes to requests."""
