"""Members of the fusion that no gradient trains: scorers which the server builds from released statistics."""
