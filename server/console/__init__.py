"""The operator's page: what goes on, on loopback, and the few buttons that change it."""
