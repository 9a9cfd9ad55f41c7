"""The process behind /services/gpu: pages, REST API, and the loop that orders the line and grants."""
