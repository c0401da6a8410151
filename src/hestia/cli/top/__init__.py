"""The parts of `hestia top`: `seen` and `wake` ask the gateway, `board` takes keys, `page` is drawn."""
