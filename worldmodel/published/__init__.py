"""Other projects' weights as Telos checkpoints."""
