"""The device program: keeps Flower's SuperNode, the trainer and the local service running, when they may run."""
