"""Episodes as animated images: what the camera saw, what the planner expected."""
