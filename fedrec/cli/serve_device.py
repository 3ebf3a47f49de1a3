"""``python -m fedrec.cli.serve_device DIR``: a device's local service and nothing else in the process.

What ``fedrec device run DIR --only api`` becomes, and what a unit may start at once: without the command line's own
modules it is there sooner and holds ten megabytes less.
"""

import sys

from fedrec.app_directory import enter_app_directory


def main() -> int:
    """Serve the device in the folder that is named until the process is told to end."""
    enter_app_directory()
    # Importable from here on only: the shells lie beside the package, or inside it.
    from clients.service.__main__ import main as serve

    return serve(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
