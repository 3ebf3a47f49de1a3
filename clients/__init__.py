"""What runs on a device: the client app, its store, its policy and its outbox."""
