"""Pure decisions: values in, decisions with reasons out.

Nothing here reads a clock, a file, the environment or the network: ``now`` is always an argument.
"""
