"""What ``/usr/bin/phloem`` runs: with the package's own libraries, and of the system only the standard ones.

The libraries are those beside this file, so that a package that was only unpacked can be looked at.
"""

import os
import sys

OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python")
sys.path[:] = [OURS, *(path for path in sys.path if not path.endswith("-packages"))]

from phloem.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
