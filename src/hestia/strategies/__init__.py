"""Which instance serves a request: the strategies that come with Hestia, and how others are found."""
