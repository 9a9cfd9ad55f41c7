"""I/O, one outside system per module, and no decisions."""
