"""The data path: match, lease, attempts, relay, rewriting."""
