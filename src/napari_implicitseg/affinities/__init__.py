"""Affinities: neighbourhoods, labels to affinities and back, and the losses that train them."""
