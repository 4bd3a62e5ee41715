"""Chooses actions through protocols that it owns. Knows no model class, no simulator, no transport."""
