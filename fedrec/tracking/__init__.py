"""Following runs elsewhere: one small protocol, and adapters to what researchers already look at."""
