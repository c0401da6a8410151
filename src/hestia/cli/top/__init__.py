"""The parts of `hestia top`: what was `seen`, the `board` that takes keys, the `page` that is drawn."""
