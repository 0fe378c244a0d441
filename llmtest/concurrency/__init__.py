"""Which thread or task runs, who spawned it, who waits for it."""
