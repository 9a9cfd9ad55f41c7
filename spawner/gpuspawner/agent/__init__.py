"""The GPU host's keeper, a process of its own: takes the inventory, reconciles and releases."""
