"""Defaults of the server in a session."""

c = get_config()  # noqa: F821 - Jupyter puts it there

# Sessions have no desktop and no mailbox: deleted files go at once, as in any shell.
c.FileContentsManager.delete_to_trash = False
