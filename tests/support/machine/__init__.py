"""A whole installation in one process: real allocator, ledger, agent and controller, and a world of fakes."""
