"""Defaults of every IPython and every notebook kernel in a session."""

c = get_config()  # noqa: F821 - IPython puts it there

# %gpuspawner_stamp
c.InteractiveShellApp.extensions = ["gpuspawner_session.magic"]
