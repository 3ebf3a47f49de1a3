"""The device's local service: recommendations, feedback and the owner's rights over gRPC. Free of torch."""
