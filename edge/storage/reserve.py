"""Space that is set aside while there is some: a file that is deleted when the disk is full."""

import logging
import os

from phloem.shared.store.folder import make_file

log = logging.getLogger("phloem.disk")


class Reserve:
    """The file; what the last run set aside is still there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.size = 0
        if os.path.exists(path):
            self.size = os.stat(path).st_blocks * 512

    def take(self, size: int) -> None:
        """Set aside; if there is no space for it there is no reserve."""
        if size == 0 or self.size >= size:
            return
        self.give_back()
        try:
            os.close(make_file(self._path, size))
        except OSError as error:
            log.warning("no reserve of %d bytes can be set aside: %s", size, error.strerror)
        else:
            self.size = size

    def give_back(self) -> None:
        """Let others have it. An error is told: the disk may be read-only by now."""
        self.size = 0
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("the reserve cannot be given back: %s", error.strerror)
