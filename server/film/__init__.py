"""Images: animated episodes, and the curves of a training."""
