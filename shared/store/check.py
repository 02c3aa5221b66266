"""Whether a store is sound: every page, block, message, index entry, counter and batch of the journal is looked at.

Read-only, and only of a folder that nobody uses: the folder is held while it is looked at, so that no server starts on
it meanwhile.
"""

from pathlib import Path

from phloem.shared.store.encrypt import secret_of
from phloem.shared.store.held import Progress, held, quiet
from phloem.shared.store.keyring import Keys
from phloem.shared.store.survey import Survey


def check(folder: Path, progress: Progress = quiet, keys: Keys | None = None) -> Survey:
    """Look at everything. Raises StoreError if the folder is none or in use, or the key is not the right one."""
    with held(folder):
        return Survey(folder, progress, vault=secret_of(folder, keys).vault()).run()
