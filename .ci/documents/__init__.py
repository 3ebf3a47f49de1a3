"""The documentation: what pages link to, which pages are generated, and how the site is made of them."""
