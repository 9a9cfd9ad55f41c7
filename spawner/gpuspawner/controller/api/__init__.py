"""The REST API under ``/services/gpu/api/``: one table of routes, from which the OpenAPI document is made."""
