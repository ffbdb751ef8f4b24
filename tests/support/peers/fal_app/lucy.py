"""The hosted model's dialect (`/lucy`): msgpack, the client speaks first, candidates trickle both ways."""

from session import Session


async def talk(request, faults):
    session = Session(request, faults, packed=True)
    greeted = False

    async def greet():
        """Nothing: it waits for a model's input."""

    async def take(message):
        nonlocal greeted
        match message.get("type"):
            case "offer" if not greeted:
                raise ValueError("an offer before the model's input")
            case "offer":
                sdp = message["sdp"]
                await session.answer(sdp, {})
            case "icecandidate":
                await session.candidate(message["candidate"])
            case _:
                session.stage.seen["parameters"] |= {name: value for name, value in message.items() if name != "type"}
                if not greeted:
                    greeted = True
                    await session.greet_with({"type": "ready", "iceServers": []})

    return await session.run(greet, take)
