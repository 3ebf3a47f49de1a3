"""Sums that users contribute to once before training: what each counts, how its share is bounded, in one release."""
