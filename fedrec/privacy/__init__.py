"""User-level differential privacy: clip, release, sample, account, plan and keep the ledger."""
