"""Training of networks on volumes with labels."""
