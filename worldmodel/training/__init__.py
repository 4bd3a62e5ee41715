"""Trains a recipe, stage by stage, and writes its checkpoint."""
