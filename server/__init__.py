"""The composition root: service, commands, evaluation and demo. The only package that imports the others."""
