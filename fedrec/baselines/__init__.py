"""Central models that a federated one must be held against."""
