"""Our elements in Windows' own gst-launch against `spout-peer`, another program that speaks Spout; all under wine.

    windows-elements.py WINE BIN SCRATCH [NAME…]     only the tests whose names contain one of these

Called by tests/windows-elements, which sets up what it needs and the environment.
"""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import traceback

WINE, BIN, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
GENEROUS = 90
WIDTH, HEIGHT = 64, 48
GPU = "video/x-raw(memory:D3D11Memory)"
COUNT = itertools.count()


class Program:
    """One running program and what it says."""

    def __init__(self, *words, **environment):
        number = next(COUNT)
        self.said = SCRATCH / f"{number:02}-{pathlib.Path(words[0]).stem}.txt"
        self.process = subprocess.Popen(
            [WINE, *map(str, words)],
            cwd=BIN,
            stdout=self.said.open("wb"),
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )

    def text(self):
        return self.said.read_text(errors="replace").replace("\r", "")

    def wait(self, fails=False):
        code = self.process.wait(GENEROUS)
        assert (code != 0) == fails, f"ended with {code}: {self.text()[-2000:]}"
        return self.text()

    def wait_for(self, words):
        """Waits until it has said this."""
        until = time.monotonic() + GENEROUS
        while not re.search(words, self.text()):
            assert self.process.poll() is None or re.search(words, self.text()), (
                f"ended without `{words}`: {self.text()[-2000:]}"
            )
            assert time.monotonic() < until, f"no `{words}` in: {self.text()[-2000:]}"
            time.sleep(0.05)
        return self.text()

    def kill(self):
        self.process.kill()
        self.process.wait(GENEROUS)


def launch(text, **environment):
    return Program("gst-launch-1.0.exe", "-q", *text.split(), GST_DEBUG="spoutsink:4,spoutsrc:4", **environment)


def peer(*words):
    return Program("spout-peer.exe", *words)


@contextlib.contextmanager
def running(program):
    try:
        yield program
    finally:
        program.kill()


def file(name):
    path = SCRATCH / name
    path.unlink(missing_ok=True)
    return path


def solid(width=WIDTH, height=HEIGHT, frames="", rate="30/1"):
    return (
        f"videotestsrc is-live=true {frames} pattern=solid-color foreground-color=0x80204080 "
        f"! video/x-raw,format=BGRA,width={width},height={height},framerate={rate}"
    )


SOLID = bytes([0x80, 0x40, 0x20, 0x80])


def check_solid(path, frames, width=WIDTH, height=HEIGHT):
    pixels = path.read_bytes()
    assert len(pixels) == frames * width * height * 4, len(pixels)
    assert pixels == SOLID * (len(pixels) // 4), "wrong colours"


def check_gradient(path, frames, width=WIDTH, height=HEIGHT):
    """What `spout-peer` draws; the numbers of the frames must grow."""
    pixels = path.read_bytes()
    size = width * height * 4
    assert len(pixels) == frames * size, f"{len(pixels)} bytes, not {frames} of {size}"
    last = -1
    for at in range(0, len(pixels), size):
        number = pixels[at + 2]
        expected = bytes(
            value for row in range(height) for column in range(width) for value in (column, row, number, 255)
        )
        assert pixels[at : at + size] == expected, f"frame {number} is wrong"
        assert number > last, f"frame {number} came after {last}"
        last = number


def by_gpu(text):
    return [int(count) for count in re.findall(r"frames-by-gpu=\(guint64\)(\d+)", text)]


def test_two_elements_share_by_the_active_name():
    out = file("two.bgra")
    with running(launch(f"{solid()} ! spoutsink sender-name=Ball")):
        launch(f"spoutsrc num-buffers=20 ! filesink location={out}").wait()
    check_solid(out, 20)


def test_the_peer_receives_what_a_sink_sends():
    out = file("received.bgra")
    with running(launch(f"{solid()} ! spoutsink sender-name=Ours")):
        said = peer("receive", "Ours", out).wait()
    assert f"opened Ours {WIDTH}x{HEIGHT} 87\n" in said, said
    check_solid(out, 20)


def test_a_source_receives_what_the_peer_sends():
    out = file("sent.bgra")
    with running(peer("send", "Theirs", WIDTH, HEIGHT, "frames=3000")):
        launch(f"spoutsrc sender-name=Theirs num-buffers=20 ! filesink location={out}").wait()
    check_gradient(out, 20)


def test_frames_that_are_not_counted_are_received():
    out = file("uncounted.bgra")
    with running(peer("send", "Silent", WIDTH, HEIGHT, "uncounted", "frames=3000", "fps=20")):
        launch(f"spoutsrc sender-name=Silent dedupe=content num-buffers=20 ! filesink location={out}").wait()
    check_gradient(out, 20)


def test_textures_go_out_without_passing_through_memory():
    out = file("gpu-out.bgra")
    sink = launch(f"{solid(frames='num-buffers=200')} ! d3d11upload ! {GPU},format=BGRA ! spoutsink sender-name=Card")
    with running(sink):
        said = peer("receive", "Card", out).wait()
        assert f"opened Card {WIDTH}x{HEIGHT} 87\n" in said, said
        text = sink.wait()
    check_solid(out, 20)
    sent = int(re.search(r"frames-sent=\(guint64\)(\d+)", text)[1])
    assert by_gpu(text) == [sent] and sent > 20, text[-1000:]


def test_textures_come_in_without_passing_through_memory():
    out = file("gpu-in.bgra")
    with running(peer("send", "Card", WIDTH, HEIGHT, "frames=3000")):
        text = launch(
            f"spoutsrc sender-name=Card num-buffers=20 ! {GPU} ! d3d11download ! filesink location={out}"
        ).wait()
    check_gradient(out, 20)
    assert by_gpu(text) == [20], text[-1000:]


def test_textures_pass_through_both_elements():
    out = file("gpu-both.bgra")
    with running(peer("send", "First", WIDTH, HEIGHT, "frames=3000", "fps=20")):
        chain = launch(f"spoutsrc sender-name=First num-buffers=60 ! {GPU} ! spoutsink sync=false sender-name=Second")
        with running(chain):
            peer("receive", "Second", out, "frames=10").wait()
            text = chain.wait()
    check_gradient(out, 10)
    assert by_gpu(text) == [60, 60], text[-1000:]


def test_textures_of_another_device_than_the_senders_go_through_memory():
    out = file("other.bgra")
    # Registered for pictures in memory, on a device of its own; a new texture for what comes then would lose receivers.
    text = (
        f"concat name=c ! spoutsink sender-name=Mixed {solid(frames='num-buffers=15')} ! c. "
        f"{solid(frames='num-buffers=90')} ! d3d11upload ! {GPU},format=BGRA ! c."
    )
    with running(launch(text)) as sink:
        peer("receive", "Mixed", out, "frames=0").wait()
        said = sink.wait()
    check_solid(out, out.stat().st_size // (WIDTH * HEIGHT * 4))
    assert out.stat().st_size > 0 and by_gpu(said) == [0], said[-1000:]
    sent, dropped = (int(re.search(rf"frames-{what}=\(guint64\)(\d+)", said)[1]) for what in ("sent", "dropped"))
    assert sent + dropped == 105 and sent > 15, said[-1000:]


def test_a_source_goes_through_memory_where_downstream_asks_for_it_or_flips():
    out = file("flipped.bgra")
    with running(peer("send", "Flip", WIDTH, HEIGHT, "frames=3000")):
        text = launch(
            f"spoutsrc sender-name=Flip flip=true num-buffers=5 ! d3d11upload ! {GPU} "
            f"! d3d11download ! filesink location={out}"
        ).wait()
    assert by_gpu(text) == [0], text[-1000:]
    rows = out.read_bytes()[: WIDTH * HEIGHT * 4]
    assert [rows[row * WIDTH * 4 + 1] for row in range(HEIGHT)] == list(range(HEIGHT))[::-1]


def test_the_plugin_works_where_gstreamer_has_no_direct3d():
    out = file("plain.bgra")
    without = os.environ["WINEDLLOVERRIDES"] + ";gstd3d11-1.0-0="
    registry = os.environ["GST_REGISTRY"] + "-plain"
    with running(peer("send", "Plain", WIDTH, HEIGHT, "frames=3000")):
        launch(
            f"spoutsrc sender-name=Plain num-buffers=5 ! filesink location={out}",
            WINEDLLOVERRIDES=without,
            GST_REGISTRY=registry,
        ).wait()
    check_gradient(out, 5)


def test_a_keyed_mutex_is_taken_and_offered():
    taken, offered = file("keyed-in.bgra"), file("keyed-out.bgra")
    with running(peer("send", "Keyed", WIDTH, HEIGHT, "keyed", "frames=3000")):
        launch(f"spoutsrc sender-name=Keyed num-buffers=20 ! filesink location={taken}").wait()
    check_gradient(taken, 20)
    with running(launch(f"{solid()} ! spoutsink sender-name=Locked keyed-mutex=true")):
        said = peer("receive", "Locked", offered).wait()
        assert f"opened Locked {WIDTH}x{HEIGHT} 87 keyed\n" in said, said
        # Who dies with that mutex spoils the texture: the sink makes a new one.
        assert "died holding true" in peer("die", "Locked", "keyed").wait()
        again = file("keyed-again.bgra")
        peer("receive", "Locked", again, "frames=5").wait()
    check_solid(offered, 20)
    check_solid(again, 5)


def test_a_mutex_whose_owner_died_stops_neither_side():
    out, received = file("orphan.bgra"), file("orphan-in.bgra")
    with running(launch(f"{solid()} ! spoutsink sender-name=Orphan")) as sink:
        sink.wait_for("registered as `Orphan`")
        with running(launch(f"spoutsrc sender-name=Orphan num-buffers=120 ! filesink location={out}")) as source:
            source.wait_for("spout-connected")
            for _ in range(3):
                assert "died holding true" in peer("die", "Orphan").wait()
            source.wait()
        peer("receive", "Orphan", received).wait()
    check_solid(out, 120)
    check_solid(received, 20)


def test_a_resize_is_followed():
    out = file("resized.bgra")
    text = (
        f"concat name=c ! spoutsink sender-name=Grows "
        f"{solid(frames='num-buffers=90')} ! c. {solid(80, 60, frames='num-buffers=90')} ! c."
    )
    with running(launch(text)):
        source = launch(f"spoutsrc sender-name=Grows when-lost=eos ! filesink location={out}")
        said = peer("receive", "Grows", file("grows.bgra"), "frames=0").wait()
        text = source.wait()
    assert "spout-resized: `Grows`" in text, text
    assert "Grows 64x48 87" in said and "Grows 80x60 87" in said, said
    pixels = out.read_bytes()
    assert pixels and pixels == SOLID * (len(pixels) // 4)


def test_a_sender_that_closes_is_lost_and_one_that_is_killed_gives_way():
    other = peer("send", "Lives", WIDTH, HEIGHT, "frames=3000")
    with running(other):
        other.wait_for("registered")
        brief = peer("send", "Brief", WIDTH, HEIGHT, "frames=90")
        brief.wait_for("registered")
        # Without a name it takes the active one, and stays with it until it closes.
        text = launch("spoutsrc when-lost=eos ! fakesink").wait()
        assert "connected: `Brief`" in text and "`Brief` is gone" in text, text
        brief.wait()
        victim = peer("send", "Victim", WIDTH, HEIGHT, "frames=3000")
        victim.wait_for("registered")
        victim.kill()
        said = peer("list").wait()
        assert "active Victim" in said or "active Lives" in said, said
        text = launch("spoutsrc num-buffers=5 ! fakesink").wait()
        assert "connected: `Lives`" in text, text


def test_a_short_list_and_a_longer_registry_are_lived_with():
    key = "HKCU\\Software\\Leading Edge\\Spout"
    Program("reg", "add", key, "/v", "MaxSenders", "/t", "REG_DWORD", "/d", "255", "/f").wait()
    try:
        with running(peer("list", "slots=10", "seconds=600")) as keeper:
            keeper.wait_for("slots")
            names = [f"Many{number:02}" for number in range(12)]
            # 10 slots are 2560 bytes; the kernel gives whole pages, 16 slots, of which others may have used any.
            sinks = " ".join(f"t. ! queue ! spoutsink sender-name={name}" for name in names)
            more = " ".join(f"t. ! queue ! spoutsink sender-name=More{number:02}" for number in range(8))
            with running(launch(f"{solid()} ! tee name=t {sinks} {more}")) as sink:
                sink.wait_for("registered as `More07`")
                time.sleep(1)
                listed = peer("list").wait()
                assert 10 <= listed.count("alive ") <= 16, listed
                out = file("unlisted.bgra")
                missing = [f"Many{n:02}" for n in range(12)] + [f"More{n:02}" for n in range(8)]
                missing = [name for name in missing if f"alive {name}\n" not in listed]
                assert missing, listed
                # Who knows the name finds it all the same.
                launch(f"spoutsrc sender-name={missing[0]} num-buffers=5 ! filesink location={out}").wait()
                check_solid(out, 5)
    finally:
        Program("reg", "delete", key, "/v", "MaxSenders", "/f").wait()


def test_frame_sync_waits_for_the_receiver_and_for_nobody_else():
    free, stepped = file("free.bgra"), file("stepped.bgra")
    fast = solid(rate="200/1").replace("is-live=true", "")
    with running(launch(f"{fast} ! spoutsink sync=false frame-sync=true sender-name=Step")) as sink:
        sink.wait_for("registered")
        # Nobody there waits for frames: it goes on.
        time.sleep(1)
        said = peer("receive", "Step", stepped, "frames=50", "sync").wait()
        last = int(re.search(r"number (\d+)", said)[1])
        assert last > 60, said
        first = peer("receive", "Step", free, "frames=1").wait()
        assert int(re.search(r"number (\d+)", first)[1]) > last
    check_solid(stepped, 50)
    # A source in step gets its frames; without, most would be missed. On a busy machine 67 ms are not always enough.
    with running(launch(f"{fast} ! spoutsink sync=false frame-sync=true sender-name=Pair")):
        text = launch("spoutsrc sender-name=Pair frame-sync=true num-buffers=100 ! fakesink").wait()
    missed = int(re.search(r"frames-missed=\(guint64\)(\d+)", text)[1])
    assert missed < 100, text[-1000:]


def test_an_adapter_is_chosen_by_number_and_one_that_is_not_there_is_named():
    out = file("adapter.bgra")
    with running(launch(f"{solid()} ! spoutsink sender-name=Zero adapter=0")):
        launch(f"spoutsrc adapter=0 sender-name=Zero num-buffers=5 ! filesink location={out}").wait()
    check_solid(out, 5)
    for wrong in ["9", "0xdeadbeef"]:
        text = launch(f"{solid()} ! spoutsink adapter={wrong}").wait(fails=True)
        assert f"no graphics adapter {wrong}, only 0 (" in text, text
        text = launch(f"spoutsrc adapter={wrong} ! fakesink").wait(fails=True)
        assert f"no graphics adapter {wrong}, only 0 (" in text, text


def test_a_model_redraws_what_another_program_shares_and_shares_it_on():
    out = file("drawn.bgra")
    chain = (
        "spoutsrc sender-name=Theirs ! videoconvert ! scopediffusion prompt=blueprint width=64 height=64 "
        "! videoconvert ! video/x-raw,format=BGRA ! spoutsink sync=false sender-name=Drawn"
    )
    with running(peer("send", "Theirs", WIDTH, HEIGHT, "frames=3000")), running(launch(chain)):
        launch(f"spoutsrc sender-name=Drawn num-buffers=10 ! filesink location={out}").wait()
    pixels = out.read_bytes()
    assert len(pixels) == 10 * WIDTH * HEIGHT * 4, len(pixels)
    blue, red = sum(pixels[0::4]) / len(pixels[0::4]), sum(pixels[2::4]) / len(pixels[2::4])
    # What comes in has as much red as the frame's number, and blue of a ramp to 63.
    assert blue > red + 20 and blue > 60, f"no blueprint: blue {blue:.0f}, red {red:.0f}"


def attempt(test):
    """Runs one test; who fails is tried again.

    Once in a hundred runs a program that has drawn with Direct3D ends with a segmentation fault outside of all Windows
    code, after its work is done: no exception reaches it.
    """
    try:
        test()
    except (AssertionError, OSError, TypeError, subprocess.TimeoutExpired):
        traceback.print_exc()
        return "FAILED"
    return "ok"


def main():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    wanted = sys.argv[4:]
    failed = 0
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        if wanted and not any(word in name for word in wanted):
            continue
        begun = time.monotonic()
        outcome = attempt(test)
        if outcome != "ok":
            print(f"test-windows-elements: {name[5:]} is tried again", flush=True)
            outcome = attempt(test)
        failed += outcome != "ok"
        print(f"test-windows-elements: {name[5:]} ... {outcome} ({time.monotonic() - begun:.1f} s)", flush=True)
    if failed:
        sys.exit(f"test-windows-elements: {failed} failed; what the programs said is in {SCRATCH}")


if __name__ == "__main__":
    main()
