"""`hestia semaphore`: what its commands need beside the engine's own client."""
