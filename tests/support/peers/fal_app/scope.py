"""Scope's dialect (`/ws`): JSON, a connection id, session ids, acknowledged candidates, an API proxy."""

import uuid

from session import Session


async def talk(request, faults):
    session = Session(request, faults, packed=False)
    name = str(uuid.uuid4())
    answered = False

    async def greet():
        await session.greet_with({"type": "ready", "connection_id": name[:8]})

    async def take(message):
        nonlocal answered
        echo = {"request_id": message["request_id"]} if message.get("request_id") else {}
        match message.get("type"):
            case "set_user_id":
                await session.say({"type": "user_id_set", "user_id": message["user_id"]} | echo)
            case "get_ice_servers":
                await session.say({"type": "ice_servers", "data": {"iceServers": session.faults["ice_servers"] or []}, "status": 200} | echo)
            case "offer":
                session.stage.seen["parameters"] |= message.get("initialParameters") or {}
                await session.answer(message["sdp"], {"sdp_type": "answer", "sessionId": name} | echo)
                answered = True
            case "icecandidate" if not answered and message.get("sessionId") != name:
                await session.say({"type": "error", "error": "No session for this candidate"} | echo)
            case "icecandidate":
                said = message["candidate"]
                await session.candidate(said)
                await session.say({"type": "icecandidate_ack", "status": "ok" if said else "end_of_candidates"} | echo)
            case "ping":
                await session.say({"type": "pong"} | echo)
            case "api":
                await session.say({"type": "api_response", "status": 404, "error": "no such path"} | echo)

    return await session.run(greet, take)
