"""The faults that come when all is well."""

import asyncio


async def play(session):
    """Plays a session's own, each so long after its first picture."""
    faults = session.faults
    await session.media.live.wait()
    if await session.reached("live"):
        return
    if faults["socket_dies"] is not None:
        await asyncio.sleep(faults["socket_dies"])
        session.keep_media = True
        await session.close_socket(1006)
    if faults["media_dies"] is not None:
        await asyncio.sleep(faults["media_dies"])
        await session.media.die(faults["how"] or "close")
    if faults["replaced"] is not None:
        await asyncio.sleep(faults["replaced"])
        await session.replace()
    if faults["max_duration"] is not None:
        await asyncio.sleep(faults["max_duration"])
        await session.say({"type": "error", "error": "Session reached its longest duration", "code": "MAX_DURATION_EXCEEDED"})
        await session.close_socket(1000)
