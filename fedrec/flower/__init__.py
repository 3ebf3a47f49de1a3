"""The round on Flower: messages, strategy, roster. The only part of the library that knows flwr."""
