"""Recommendations on a device from a served model, by numpy alone."""
