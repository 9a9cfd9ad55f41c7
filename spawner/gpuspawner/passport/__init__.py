"""What is known of an image: what is in it, what it needs, and on what it was tried (docs/passports.md)."""
