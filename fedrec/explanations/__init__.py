"""Why an item is recommended, computed on the user's own device from the user's own history.

Nothing of it is sent: no message has a field for it, and nothing that answers a server's tasks imports this package.
"""
