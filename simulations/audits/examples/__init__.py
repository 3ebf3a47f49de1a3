"""Published training code that has not the epsilon it claims, each beside its mended twin, for ``audit function``."""
