"""The way in by SSH: OpenSSH with a configuration of its own, and the connections that go on from it."""
