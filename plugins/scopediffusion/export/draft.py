"""A folder that appears whole or not at all."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

from trouble import Trouble


class Draft:
    """A hidden sibling of the folder to be; takes its name when everything went well, else it is removed."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.partial-{os.getpid()}")

    def __enter__(self) -> Draft:
        refuse_existing(self.target)
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
        except OSError as error:
            raise Trouble(f"`{self.target}` cannot be made: {error.strerror}",
                          "name a folder that you may write to") from error
        return self

    def keep(self) -> None:
        """Give the folder its name."""
        refuse_existing(self.target)
        self.path.rename(self.target)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def refuse_existing(target: Path) -> None:
    """Nothing of anybody's is overwritten."""
    if target.exists():
        raise Trouble(f"`{target}` exists already", "name a folder that does not exist yet, or remove that one")
