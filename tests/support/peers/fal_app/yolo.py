"""The webcam demo's dialect: JSON on a raw endpoint (`/webrtc`), msgpack on the framework's (`/realtime`)."""

from session import Session


async def talk(request, faults, packed):
    session = Session(request, faults, packed)

    async def greet():
        await session.greet_with({"type": "ready"})

    async def take(message):
        match message.get("type"):
            case "offer":
                await session.answer(message["sdp"], {})
            case "icecandidate":
                said = message["candidate"]
                if said is not None and not said["candidate"]:
                    raise ValueError("an empty candidate")
                await session.candidate(said)

    return await session.run(greet, take)


async def text(request, faults):
    return await talk(request, faults, packed=False)


async def packed(request, faults):
    return await talk(request, faults, packed=True)
