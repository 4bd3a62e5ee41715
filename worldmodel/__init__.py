"""Learns and predicts latents. Knows no goal, no planner, no simulator, no transport."""
