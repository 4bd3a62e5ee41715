"""The engine: models, images, limits, and one thread that plans for many robots at a time."""
