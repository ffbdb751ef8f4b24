"""Why an export ends early: a sentence and what to do next, for the command that started this program."""
from __future__ import annotations

import json
import sys

# The command looks for a line that begins like this; everything else on stderr is libraries talking.
MARK = "export-error: "
FAILED = 3


class Trouble(Exception):
    """A failure with a remedy: `sentence` says what and where, `hint` what to do next."""

    def __init__(self, sentence: str, hint: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint

    def report(self) -> int:
        """Tell the command on stderr; returns the exit status."""
        print(MARK + json.dumps({"error": self.sentence, "hint": self.hint}), file=sys.stderr, flush=True)
        return FAILED
