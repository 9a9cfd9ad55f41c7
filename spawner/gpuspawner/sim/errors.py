"""The one exception of the simulation."""


class SimError(Exception):
    """Something was asked of the simulation that it cannot do; the message names the thing and the fix.

    Nothing has been changed when it is raised.
    """
