"""What stands between a server's wishes and a device's users: ledger, clock, checks of what arrives, envelope."""
