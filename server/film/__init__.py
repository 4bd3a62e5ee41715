"""Pictures: episodes as animated images, and the curves of a training."""
