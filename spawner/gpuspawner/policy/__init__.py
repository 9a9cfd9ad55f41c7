"""Models of what people write (settings, options), and their translation into core values."""
