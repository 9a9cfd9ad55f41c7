"""``gpuspawner doctor``: whether this host can do what it is asked to do, and how to mend what it cannot."""
