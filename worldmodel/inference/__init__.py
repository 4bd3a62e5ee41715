"""Trained models in the form that planning uses."""
