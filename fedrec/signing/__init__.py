"""Signatures on what crosses a border of trust: documents of a server (Ed25519), statements of a device (P-384)."""
