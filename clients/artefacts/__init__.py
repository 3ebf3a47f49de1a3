"""Signed versions of the catalogue and of the served model on a device: checked, put in place, taken back."""
