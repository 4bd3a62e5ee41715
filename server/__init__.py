"""The composition root: serves, evaluates and demonstrates. The only package that imports the others."""
