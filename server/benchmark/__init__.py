"""Measurements of speed that `telos benchmark` runs."""
