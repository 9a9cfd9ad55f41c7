"""``gpuspawner demo``: a whole installation on one machine, with simulated GPUs where there are none."""
