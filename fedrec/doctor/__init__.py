"""What is wrong with an installation, the machine under it, or a device, in plain words and with the remedy."""
