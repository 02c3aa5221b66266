"""What ``/usr/bin/phloem`` runs: with the package's own libraries, and of the system only the standard ones."""

import sys

sys.path[:] = ["/usr/lib/phloem/python", *(path for path in sys.path if not path.endswith("-packages"))]

from phloem.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
