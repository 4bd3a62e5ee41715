"""Reads episode stores, and latents of their frames."""
