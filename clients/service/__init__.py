"""The device's local service over gRPC: recommendations, feedback, consent, export, forgetting. Free of torch."""
