"""Logging in by the service of an institution: JupyterHub authenticators made from oauthenticator's.

What they add is the same for all: a person is the service's subject and not a name
(:mod:`gpuspawner.core.identity`), groups are taken as they are or not at all, and a service that is down
throws nobody out.
"""
