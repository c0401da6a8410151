"""Requests that this process makes to its own edge, over a private socket."""
