"""From affinities to objects."""
