"""What a device keeps of its users in SQLite: events, consent, outbox, counters. Free of torch."""
