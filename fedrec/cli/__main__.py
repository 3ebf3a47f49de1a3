"""``python -m fedrec.cli``: the ``fedrec`` command where its script is not on the path."""

from fedrec.cli.main import main

if __name__ == "__main__":
    main()
