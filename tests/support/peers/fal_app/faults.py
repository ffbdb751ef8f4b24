"""What can go wrong, by name. A test posts `{"attempts": [FAULTS, ...], "rest": FAULTS, "token": FAULTS}`.

Each new connection takes the first of `attempts` that is left, later ones live under `rest`; both are empty at first,
which is a healthy app. Times are seconds.

token      status, body      the token endpoint refuses
           shape             `string` (default), `token`, `detail`
           lifetime          shorter than what was asked for
upgrade    upgrade_delay     the handshake hangs, as one shape of a cold start does
           upgrade_status    401, 403, 404, 429, 503 instead of a WebSocket
ready      ready_delay       it comes late, the other shape of a cold start
           no_ready          it never comes
           second_ready      it comes twice
           ice_servers       these servers are handed out (scope)
           garbage           a frame nobody understands comes first
           chatter           frames of no concern to a client stand between all others
answer     error_before_answer, error_after_answer    a sentence; with `fal_error` in the gateway's own words
           wrong_opcode      the answer comes as text to a binary dialect, or the reverse
           no_answer         the offer is swallowed
           answer_sdp        it says this
           second_answer     it comes twice
           early_null        the end of candidates comes before the answer
           answer_delay      it comes late
close      close_at          `open`, `ready`, `offer`, `answer`, `candidate`, `live`; with `close_code`, 1006 is no farewell
later      socket_dies       so long after the first picture the socket is gone, media live on
           media_dies        media end; `how` is `close` (a farewell), `vanish` (none) or `stall` (no more pictures)
           replaced          the runner is gone without a word, socket and media; the next one knows nothing
           max_duration      the app ends the session, saying so
pictures   timestamps        `own`: the app stamps by its own clock and keeps nothing
           keep              every n-th picture only
           delay             each picture takes so much longer
           starved           so long out of four seconds nothing gets done
           loss              this share of the packets is lost, both ways
"""


class Faults(dict):
    """A fault that is not set is falsy."""

    def __missing__(self, name):
        return None
