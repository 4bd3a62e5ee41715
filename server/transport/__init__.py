"""HTTP and gRPC: thin translations of the same service."""
