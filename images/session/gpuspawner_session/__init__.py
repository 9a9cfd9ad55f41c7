"""What runs inside a session of gpuspawner, or on a laptop: nothing here needs the hub."""
