"""Clients who lie, and what they make of a recommender: attacks on federated recommendation and their measures."""
