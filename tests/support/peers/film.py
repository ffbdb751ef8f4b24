"""Watches a recorded file with FFmpeg's decoders, which share no code with GStreamer. `film.py FILE`

Prints one JSON object: container, codec, size, frames, seconds as the file says and as its frames say, the longest gap
between two frames, and the mean colour of the first, the middle and the last frame.
"""

import json
import sys

import av


def mean(frame):
    pixels = frame.to_ndarray(format="rgb24")
    return [round(float(value)) for value in pixels.mean(axis=(0, 1))]


def main(path):
    with av.open(path) as film:
        stream = film.streams.video[0]
        frames = [(frame.time, mean(frame), frame.width, frame.height) for frame in film.decode(stream)]
        times = [time for time, *_ in frames]
        print(json.dumps({
            "container": film.format.name, "codec": stream.codec_context.name,
            "sizes": sorted({(width, height) for *_, width, height in frames}),
            "frames": len(frames), "seconds": (film.duration or 0) / av.time_base,
            "first": times[0], "last": times[-1],
            "longest_gap": max((b - a for a, b in zip(times, times[1:])), default=0),
            "colours": [frames[at][1] for at in (0, len(frames) // 2, -1)],
        }))


main(sys.argv[1])
