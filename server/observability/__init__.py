"""What a running server says of itself: metrics, logs and traces."""
