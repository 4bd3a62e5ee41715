"""How good is a model at its task? Held-out starts and goals, named protocols, controls, intervals."""
