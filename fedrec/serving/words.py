"""What branches and members of a model are called in plain words, wherever a list is explained."""

MEMBER_WORDS = {
    "cf": "your taste over all you chose",
    "siamese": "its likeness to all you chose",
    "neumf": "your profile",
    "autoencoder": "what goes with all you chose",
    "mf": "your profile and its popularity",
    "seq": "what you chose last",
    "neighbours": "what is chosen together with yours",
    "knn": "what is chosen together with yours",
    "ease": "what is chosen together with yours",
    "markov": "what is chosen right after your latest",
    "popularity": "its popularity",
    "recent-popularity": "its popularity of late",
    "ials": "your profile in closed form",
    "pca": "what goes with all you chose",
    "nearby": "what is chosen around the same time as your latest",
    "content": "its likeness to what you chose last",
}
"""By the name in ``model.branches`` or ``model.members``."""
