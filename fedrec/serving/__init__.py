"""The served model: what a server publishes of a trained run, and what a device recommends from."""
