"""What pages show and others write: libraries, HTTP, and words that are values to the code."""

from __future__ import annotations

FOREIGN = (
    # pydantic, of what was typed into a form
    "Input should be a valid integer",
    "Input should be a valid string",
    "Input should be a valid list",
    "Input should be a valid boolean",
    "Input should be greater than or equal to {least}",
    "Input should be less than or equal to {most}",
    "Input should be {expected}",
    "String should have at least {count} character",
    "String should have at least {count} characters",
    "String should have at most {count} characters",
    "List should have at most {count} items after validation, not {found}",
    # HTTP
    "Bad Request",
    "Unauthorized",
    "Forbidden",
    "Not Found",
    "Method Not Allowed",
    "Conflict",
    "Request Entity Too Large",
    "Too Many Requests",
    "Internal Server Error",
    "Bad Gateway",
    "Service Unavailable",
    # JupyterHub, while a server starts
    "Server requested",
    "Spawning server...",
    "Server ready at {url}",
    "Spawn failed",
    "Spawn cancelled",
    # states, kinds and rules
    "reserved",
    "active",
    "releasing",
    "released",
    "created",
    "exited",
    "removing",
    "unknown",
    "default",
    "settings",
    "pool",
    "key",
    "parameter",
    "field",
    "agent",
    "hub",
    "controller",
    # days and months
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
"""As :mod:`gpuspawner.language.sentences` would find them; what is put in is in braces."""

JOINTS = (".", "; ", ", ", " and ", ": ", " (", ")", " to ")
"""What stands between two texts, or closes one."""
