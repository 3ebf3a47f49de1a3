"""Versions of the catalogue and of the served model on a device: verified, whole or absent, never older."""
