"""The tables of the papers this package follows, measured again beside its own."""
