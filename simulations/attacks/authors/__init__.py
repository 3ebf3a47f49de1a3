"""Published poisoning attacks on federated recommenders, each again in its authors' own setting and without defence."""
