"""A deployed device: where its things lie, its settings and its identity. Free of torch."""
