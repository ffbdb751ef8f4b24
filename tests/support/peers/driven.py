"""A peer that is told what to do: one JSON object a line on standard input, one reply a line on standard output.

A command is `{"do": NAME, ...}`; the reply is whatever the function of that name returns, or `{"error": SENTENCE}`.
Replies come in the order of the commands, so a test reads like a conversation. The end of the input ends the peer.
"""

import asyncio
import json
import sys


async def serve(commands):
    """Answers commands until the input ends. `commands` maps names to async functions that take the other keys."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        name = command.pop("do")
        try:
            reply = await commands[name](**command)
        except Exception as error:  # whatever went wrong is the test's to judge
            reply = {"error": f"{name}: {type(error).__name__}: {error}"}
        print(json.dumps(reply if reply is not None else {}), flush=True)
