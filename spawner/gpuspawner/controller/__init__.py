"""The third process: it keeps the line, ends sessions in order, and serves ``/services/gpu``."""
