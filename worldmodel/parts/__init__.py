"""The parts of recipes: networks and functions from tensors to tensors."""
