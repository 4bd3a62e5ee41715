"""Measures a model at its task: held-out starts and goals, named protocols, controls, intervals."""
