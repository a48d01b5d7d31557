"""The dataplane's end of the link against a control that is careless, hostile or just gone.

Whatever control does: the same process goes on, says why it closed the link, and the next control
finds a working dataplane that remembers nothing of the one before.
"""

import collections
import pathlib
import re
import struct
import tempfile
import time

import pytest

from lab import link
from lab.bitcoin import from_display, sha256d
from lab.programs import SLOW, Memif, Replay, Tower, synthesize, wait_until

TIP = 24
WINDOW = 6


class LinkLab:
    """One dataplane and its node for all tests here: a test begins where others left it."""

    def __init__(self, folder):
        self.tower = Tower(folder, Memif(folder))
        self.tower.dataplane_options = ["--window", str(WINDOW)]
        chain, self.planted = synthesize(
            folder, "--blocks", str(TIP), "--breaches", "8", "--txs-per-block", "30", "--seed", "9"
        )
        self.replay = Replay(folder, self.tower.device, chain, "--start-blocks", str(TIP))
        try:
            self.tower.start_dataplane()
            self.dataplane = self.tower.dataplane
            self.dataplane.wait_line("event=ready")
        except BaseException:
            self.kill()
            raise
        self.path = self.tower.settings["link"]["socket"]
        self._read = 0

    def kill(self):
        self.tower.kill()
        self.replay.kill()

    def connect(self):
        return link.Link(self.path)

    def locators(self, planted):
        return [bytes.fromhex(b["locator_current"]) for b in planted]

    def news(self):
        return self.dataplane.output()[self._read :]

    def forget(self):
        self._read = len(self.dataplane.output())

    def wait_news(self, pattern):
        def found():
            self.dataplane.check()
            return re.search(pattern, self.news())

        wait_until(found, f"/{pattern}/ in the log, which has:\n{self.news()}", 20)

    def works(self, planted=None):
        """A whole session of a control that does everything right and watches some breaches."""
        planted = self.planted[::2] if planted is None else planted
        with self.connect() as control:
            control.open()
            control.send(link.watch_load(self.locators(planted)), link.start())
            blocks, hits = link.follow(control, TIP)
        assert [b.height for b in blocks] == list(range(1, TIP + 1))
        for above, below in zip(blocks[1:], blocks):
            assert above.header[4:36] == below.hash
        assert all(sha256d(b.header) == b.hash for b in blocks)
        found = {h.txid for h in hits}
        assert found == {from_display(b["dispute_txid"]) for b in planted}
        raw = {from_display(b["dispute_txid"]): bytes.fromhex(b["dispute_hex"]) for b in planted}
        assert all(h.raw == raw[h.txid] for h in hits if not h.flags & link.HIT_RECENT)
        return blocks


@pytest.fixture(scope="module")
def plane(programs):
    with tempfile.TemporaryDirectory(prefix="vigil-") as folder:
        made = LinkLab(pathlib.Path(folder))
        try:
            yield made
            made.dataplane.terminate()
            made.replay.terminate()
        finally:
            made.kill()


@pytest.fixture
def lines(plane):
    """After the test: still the same process, and a good session."""
    plane.forget()
    yield plane
    plane.dataplane.check()
    plane.works()


OPENED = [link.hello()]
RUNNING = [link.hello(), link.start()]
MALFORMED = "event=link_malformed"
OUT_OF_ORDER = "event=link_protocol"

MISDEEDS = {
    "no size at all": ([bytes(8)], MALFORMED),
    "smaller than its head": ([link.record(link.C_HELLO, bytes(16), sz=4)], MALFORMED),
    "smaller than its struct": (OPENED + [link.record(link.START, bytes(8))], MALFORMED),
    "larger than its struct": (OPENED + [link.record(link.STATS_GET, bytes(16))], MALFORMED),
    "not a multiple of eight": ([link.record(link.C_HELLO, bytes(16), sz=23)], MALFORMED),
    "larger than any record": (
        OPENED + [link.record(link.WATCH_LOAD, bytes(8), sz=link.REC_SZ_MAX + 8)],
        MALFORMED,
    ),
    "the largest size there is": (
        OPENED + [link.record(link.WATCH_LOAD, bytes(8), sz=0xFFFFFFF8)],
        MALFORMED,
    ),
    "asking for counters before START": (
        OPENED + [link.record(link.STATS_GET, bytes(8))],
        OUT_OF_ORDER,
    ),
    "type 0": (OPENED + [link.record(0, bytes(16))], MALFORMED),
    "a type between the directions": (OPENED + [link.record(10, bytes(16))], MALFORMED),
    "a type beyond all": (OPENED + [link.record(0xFFFF, bytes(16))], MALFORMED),
    "the reserved half of the head": (
        [link.record(link.C_HELLO, link.hello()[8:], zero=1)],
        MALFORMED,
    ),
    "the dataplane's own HELLO": ([link.record(link.D_HELLO, bytes(72))], MALFORMED),
    "a block from control": (RUNNING + [link.record(link.BLOCK_CONNECTED, bytes(192))], MALFORMED),
    "more locators than there are": (
        OPENED + [link.watch_load([bytes(16)] * 2, cnt=3)],
        MALFORMED,
    ),
    "fewer locators than there are": (
        OPENED + [link.watch_load([bytes(16)] * 2, cnt=1)],
        MALFORMED,
    ),
    "a count that overflows 32 bits": (
        OPENED + [link.watch_load([bytes(16)], cnt=0x10000001)],
        MALFORMED,
    ),
    "more headers than there are": (OPENED + [link.start(cnt=1)], MALFORMED),
    "headers that overflow 32 bits": (
        OPENED + [link.start(headers=[bytes(80)], cnt=0x33333334)],
        MALFORMED,
    ),
    "a transaction that is not all there": (
        RUNNING + [link.broadcast(1, bytes(32), bytes(64), sz=65)],
        MALFORMED,
    ),
    "an empty transaction": (RUNNING + [link.broadcast(1, bytes(32), b"")], OUT_OF_ORDER),
    "a load before HELLO": ([link.watch_load([bytes(16)])], OUT_OF_ORDER),
    "START before HELLO": ([link.start()], OUT_OF_ORDER),
    "a question before HELLO": ([link.stats_get(1)], OUT_OF_ORDER),
    "an ack before HELLO": ([link.block_ack(1, bytes(32))], OUT_OF_ORDER),
    "an add before START": (OPENED + [link.watch_add(1, bytes(16))], OUT_OF_ORDER),
    "a delete before START": (OPENED + [link.watch_del(bytes(16))], OUT_OF_ORDER),
    "a broadcast before START": (
        OPENED + [link.broadcast(1, bytes(32), bytes(64))],
        OUT_OF_ORDER,
    ),
    "a second HELLO": (OPENED * 2, OUT_OF_ORDER),
    "a HELLO in the middle": (RUNNING + [link.hello()], OUT_OF_ORDER),
    "a load after START": (RUNNING + [link.watch_load([bytes(16)])], OUT_OF_ORDER),
    "a second START": (RUNNING + [link.start()], OUT_OF_ORDER),
    "a mode of START that is none": (OPENED + [link.start(mode=2)], OUT_OF_ORDER),
    "wrong magic": ([link.hello(magic=0x12345678)], "event=link_(version|magic)"),
    "wrong version": ([link.hello(version=link.VERSION + 1)], "event=link_version"),
    "wrong network": ([link.hello(network=0)], "event=link_network"),
    "a network that is none": ([link.hello(network=0xFFFFFFFF)], "event=link_network"),
}


def test_every_misdeed_ends_the_session_with_a_reason(lines):
    """One after the other on one dataplane; a good session follows some, and the last."""
    for i, (what, (records, reason)) in enumerate(MISDEEDS.items()):
        lines.forget()
        with lines.connect() as control:
            try:
                control.send(*records)
                control.wait_closed()
            except link.Closed:
                pass
            except AssertionError as e:
                raise AssertionError(f"{what}: {e}\n{lines.news()}") from None
        # The end of a good session before may be in the log before it.
        lines.wait_news(rf"{reason}(.|\n)*event=link_down")
        if i % 6 == 5:
            lines.works()


@pytest.mark.parametrize("fault", ["zeros", "order", "gap", "work"])
def test_headers_that_are_no_chain_end_the_session(lines, fault):
    headers = [b.header for b in lines.works()[:8]]
    if fault == "zeros":
        headers = [bytes(80)] * 3
    elif fault == "order":
        headers.reverse()
    elif fault == "gap":
        del headers[4]
    else:
        # The last one: its bits ask for more work than its hash shows.
        headers[-1] = headers[-1][:72] + struct.pack("<I", 0x1D00FFFF) + headers[-1][76:]
    with lines.connect() as control:
        control.send(link.hello(), link.start(headers=headers))
        control.wait_closed()
    lines.wait_news("event=link_down.*START do not form a chain")


def test_a_session_resumes_above_the_headers_given(lines):
    blocks = lines.works()
    with lines.connect() as control:
        control.open()
        control.send(link.start(headers=[b.header for b in blocks[:10]]))
        seen = control.until(link.CHAIN_START)
        assert struct.unpack_from("<II32s", seen[-1][1]) == (10, 0, blocks[9].hash)
        rest = [r for k, r in control.records(1 * SLOW) if k == link.BLOCK_CONNECTED]
        assert [b.height for b in rest] == list(range(11, 11 + WINDOW))


def test_a_record_in_single_bytes_is_a_record(lines):
    with lines.connect() as control:
        for byte in link.hello() + link.start():
            control.send(bytes([byte]))
        link.follow(control, TIP)


@pytest.mark.parametrize("keep", [4, 8, 40])
def test_a_record_cut_in_half(lines, keep):
    with lines.connect() as control:
        control.open()
        control.send(link.start()[:keep])
        time.sleep(0.05)
    lines.wait_news("event=link_down.*control has closed the link")


def test_control_leaves_in_the_middle_of_a_load(lines, rng):
    """What it had loaded is forgotten: the good session after this does not watch all of it."""
    with lines.connect() as control:
        control.open()
        many = [rng.randbytes(16) for _ in range(2000)]
        for _ in range(50):
            control.send(link.watch_load(many))
        control.send(link.watch_load(lines.locators(lines.planted)))
        control.send(link.watch_load(many)[:20000])
    lines.wait_news("event=link_down.*control has closed the link")
    lines.works(lines.planted[:3])


def test_control_leaves_in_the_middle_of_the_blocks(lines):
    for height in (1, 3, 10):
        with lines.connect() as control:
            control.open()
            control.send(link.watch_load(lines.locators(lines.planted)), link.start())
            link.follow(control, height)
    lines.works(lines.planted[:3])


def test_without_acknowledgements_only_a_window_of_blocks_comes(lines):
    with lines.connect() as control:
        assert control.open()["window"] == WINDOW
        control.send(link.start())
        blocks = [r for k, r in control.records(1 * SLOW) if k == link.BLOCK_CONNECTED]
        assert [b.height for b in blocks] == list(range(1, WINDOW + 1))

        # Adds are answered all the same, and find what was in the blocks.
        early = [b for b in lines.planted if b["height"] <= WINDOW]
        assert early
        for cookie, breach in enumerate(lines.planted):
            control.send(link.watch_add(cookie, bytes.fromhex(breach["locator_current"])))
            seen = control.until(link.WATCH_ADDED)
            hits = [r for k, r in seen if k == link.HIT]
            assert [k for k, _ in seen].count(link.BLOCK_CONNECTED) == 0
            assert seen[-1][1] == link.Added(cookie, len(hits), 0)
            assert [h.txid for h in hits] == [
                from_display(b["dispute_txid"]) for b in [breach] if breach in early
            ]
            assert all(h.flags & link.HIT_RECENT for h in hits)

        # One block for one acknowledgement; an ack of nothing known moves nothing.
        control.send(link.block_ack(1, bytes(32)))
        control.send(link.block_ack(1, blocks[0].hash))
        more = [r for k, r in control.records(0.5 * SLOW) if k == link.BLOCK_CONNECTED]
        assert [b.height for b in more] == [WINDOW + 1]

        # One acknowledgement for all of them, and the rest comes, with the hits of what was added.
        control.send(link.block_ack(more[0].height, more[0].hash))
        rest, hits = link.follow(control, TIP)
        assert [b.height for b in rest] == list(range(WINDOW + 2, TIP + 1))
        assert {h.txid for h in hits} == {
            from_display(b["dispute_txid"]) for b in lines.planted if b["height"] > WINDOW + 1
        }


def test_answers_to_a_control_that_does_not_read_are_not_lost(lines, rng):
    """More adds than the dataplane can hold answers to: it stops reading, and drops none."""
    with lines.connect() as control:
        control.open()
        control.send(link.start())
        link.follow(control, TIP)
        sent, batch = 0, 1000
        control.sock.settimeout(0.3 * SLOW)
        left = b""
        try:
            while sent < 1_200_000:
                pad = rng.randbytes(8)
                left = b"".join(
                    link.watch_add(c, pad + struct.pack("<Q", c)) for c in range(sent, sent + batch)
                )
                sent += batch
                while left:
                    left = left[control.sock.send(left) :]
        except TimeoutError:
            pass
        assert left, "the dataplane reads without end"
        kinds = collections.Counter()
        answered = 0
        while answered < sent:
            if left:
                try:
                    left = left[control.sock.send(left) :]
                except TimeoutError:
                    pass
            got = control.receive(20 * SLOW)
            assert got is not None, f"{answered} of {sent} adds were answered"
            kinds[got[0]] += 1
            if got[0] == link.WATCH_ADDED:
                assert got[1] == link.Added(answered, 0, 0)
                answered += 1


def test_a_second_control_waits_until_the_first_is_gone(lines):
    with lines.connect() as first, lines.connect() as second:
        first.open()
        first.send(link.start())
        second.send(link.hello(), link.watch_load(lines.locators(lines.planted)), link.start())
        link.follow(first, 10)
        assert second.receive(0.5) is None
        link.follow(first, TIP)
        first.close()
        assert second.receive(20 * SLOW)[0] == link.D_HELLO
        blocks, hits = link.follow(second, TIP)
        assert len(blocks) == TIP and len(hits) == len(lines.planted)
