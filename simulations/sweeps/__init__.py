"""Searching for settings: a space, a study that goes on where it was killed, and what the search costs in privacy."""
