"""fal's own part: tokens for keys, and who may open a WebSocket."""

import asyncio

from aiohttp import web

from stage import STAGE


def refusal(status, body=None):
    return web.json_response(body or {"detail": f"refused with {status}"}, status=status)


def has_key(request, stage):
    authorization = request.headers.get("Authorization", "")
    return authorization.startswith("Key ") and stage.key in (None, authorization.removeprefix("Key "))


async def token(request):
    stage = request.app[STAGE]
    stage.seen["tokens"] += 1
    faults = stage.token_faults
    if faults["status"]:
        return refusal(faults["status"], faults["body"])
    if not has_key(request, stage):
        return refusal(401, {"detail": "No user found for Key ID and Secret"})
    wanted = await request.json()
    if not wanted.get("allowed_apps"):
        return refusal(422, {"detail": [{"loc": ["body", "allowed_apps"], "msg": "Field required", "type": "missing"}]})
    lifetime = faults["lifetime"] or wanted.get("token_expiration") or wanted.get("duration") or 120
    minted = stage.mint(lifetime)
    shape = faults["shape"] or "string"
    return web.json_response(minted if shape == "string" else {shape: minted}, status=201)


def gateway(talk):
    """Lets a WebSocket in to `talk(request, faults)`, or not."""

    async def enter(request):
        stage = request.app[STAGE]
        faults = stage.next_faults()
        if faults["upgrade_delay"]:
            await asyncio.sleep(faults["upgrade_delay"])
        if faults["upgrade_status"]:
            return refusal(faults["upgrade_status"])
        minted = request.query.get("fal_jwt_token")
        if minted is not None and stage.token_is_good(minted):
            stage.seen["admitted"].append("token")
        elif has_key(request, stage):
            stage.seen["admitted"].append("key")
        elif stage.key is None and minted is None:
            stage.seen["admitted"].append("public")
        else:
            return refusal(401, {"detail": "Authentication is required to access this application"})
        return await talk(request, faults)

    return enter
