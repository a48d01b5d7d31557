"""vigil-rescan against an independent walk of the same files: every hit, and nothing else."""

import json
import random
import signal
import struct
import subprocess
import time

import pytest

from lab.bitcoin import Block, Chain, Malformed, display
from lab.programs import SLOW, path_of, synthesize

MAGIC = {
    "regtest": bytes.fromhex("fabfb5da"),
    "testnet3": bytes.fromhex("0b110907"),
    "main": bytes.fromhex("f9beb4d9"),
}
KEY = bytes.fromhex("5a00c3f18e77092d")


def record(raw, network="regtest"):
    return MAGIC[network] + struct.pack("<I", len(raw)) + raw


def obfuscate(data, key):
    return bytes(b ^ key[i % 8] for i, b in enumerate(data))


def write_blk(folder, number, data, key=None, tail=0):
    """As a node does it: the zeros of the tail are not obfuscated."""
    folder.mkdir(exist_ok=True)
    if key:
        (folder / "xor.dat").write_bytes(key)
    path = folder / f"blk{number:05d}.dat"
    path.write_bytes((obfuscate(data, key) if key else data) + bytes(tail))
    return path


def walk(folder, network="regtest"):
    """[(file, offset, block)] of the sound blocks, first copies only: by magic and length, in pure Python."""
    key_file = folder / "xor.dat"
    key = key_file.read_bytes() if key_file.exists() else bytes(8)
    seen, found = set(), []
    for path in sorted(folder.glob("blk*.dat")):
        data = obfuscate(path.read_bytes(), key)
        at = data.find(MAGIC[network])
        while at >= 0:
            size = struct.unpack("<I", data[at + 4 : at + 8])[0] if at + 8 <= len(data) else 0
            raw = data[at + 8 : at + 8 + size]
            try:
                block = Block.parse(raw) if len(raw) == size >= 80 else None
            except (Malformed, struct.error, KeyError):
                block = None
            if block is None or not sound(block):
                at = data.find(MAGIC[network], at + 1)
                continue
            if block.hash not in seen:
                seen.add(block.hash)
                found.append((path, at + 8, block))
            at = data.find(MAGIC[network], at + 8 + size)
    return found


def sound(block):
    claimed, block.merkle = block.merkle, None
    computed = Block(block.prev, block.time, block.txs, block.bits, block.version, block.nonce).header()
    block.merkle = claimed
    return computed == block.header()


def expected_hits(found, heights, best, locators):
    """Every transaction of every block, in both forms of its locator."""
    hits = []
    for path, offset, block in found:
        for index, tx in enumerate(block.txs):
            txid = tx.txid
            for scheme, loc in (("internal", txid[:16]), ("display", txid[::-1][:16])):
                if loc.hex() in locators:
                    hits.append(
                        {
                            "type": "hit",
                            "height": heights[block.hash],
                            "block_hash": display(block.hash),
                            "best_chain": block.hash in best,
                            "txid": display(txid),
                            "tx_index": index,
                            "locator": loc.hex(),
                            "scheme": scheme,
                            "file": str(path),
                            "offset": offset,
                        }
                    )
    return hits


def some_locators(rng, blocks, every=3):
    """Of every third transaction, one form or the other, now and then both; and many that match nothing."""
    locators = set()
    for block in blocks:
        for tx in block.txs:
            if rng.randrange(every) == 0:
                forms = [tx.txid[:16].hex(), tx.txid[::-1][:16].hex()]
                locators.update(rng.choice([forms, forms[:1], forms[1:]]))
    return locators | {rng.randbytes(16).hex() for _ in range(1000)}


def write_locators(folder, locators):
    path = folder / "locators.txt"
    lines = ["# of a test", ""] + [loc if i % 2 else f"  {loc.upper()}  # {i}" for i, loc in enumerate(sorted(locators))]
    path.write_text("\n".join(lines) + "\n")
    return path


def rescan(*args, status=0, stdin=None):
    """(hits, summary, what it said)"""
    done = subprocess.run(
        [path_of("vigil-rescan"), *map(str, args)],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120 * SLOW,
        check=False,
    )
    assert done.returncode == status, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if not lines:
        return [], None, done.stderr
    assert lines[-1]["type"] == "summary" and all(line["type"] == "hit" for line in lines[:-1])
    assert lines[-1]["hits"] == len(lines) - 1
    return lines[:-1], lines[-1], done.stderr


class World:
    """A chain of 60 blocks with a stale branch of three at height 40, as a node may have stored it."""

    def __init__(self, rng):
        self.rng = rng
        self.chain = Chain.regtest(60, seed=rng.randrange(1 << 30))
        self.branch = self.chain.fork(self.chain.height - 40)
        for _ in range(3):
            self.branch.extend(payments=2)
        self.stale = self.branch.blocks[-3:]
        self.heights = {b.hash: h for h, b in enumerate(self.chain.blocks)}
        self.heights.update({b.hash: 41 + i for i, b in enumerate(self.stale)})
        self.best = {b.hash for b in self.chain.blocks}
        self.locators = some_locators(rng, self.chain.blocks + self.stale)

    def shuffled(self):
        """The blocks in an order that a download in parallel may give."""
        blocks = self.chain.blocks + self.stale
        order = sorted(range(len(blocks)), key=lambda i: i + self.rng.randrange(30))
        return [blocks[i] for i in order]


@pytest.fixture
def world(rng):
    return World(rng)


@pytest.mark.main_path
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "obfuscated"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_hit_of_shuffled_files_is_found_and_no_other(programs, folder, world, key, threads):
    blocks = world.shuffled()
    blocks.insert(50, blocks[3])  # a crash can leave a block twice
    for number in range(3):
        data = b"".join(record(b.serialize()) for b in blocks[number::3])
        write_blk(folder / "blocks", number, data, key, tail=50000 if number == 2 else 0)
    locators = write_locators(folder, world.locators)
    found = walk(folder / "blocks")
    assert len(found) == 64
    want = expected_hits(found, world.heights, world.best, world.locators)
    assert len([h for h in want if not h["best_chain"]]) > 0

    hits, summary, _ = rescan("--locators", locators, "--threads", threads, "--all", folder / "blocks")
    assert hits == want
    assert summary["complete"] and summary["network"] == "regtest"
    assert summary["duplicates"] == 1 and summary["stale_blocks"] == 3
    assert summary["scanned_blocks"] == 64
    assert summary["transactions"] == sum(len(b.txs) for _, _, b in found)
    assert (summary["lowest_height"], summary["tip_height"]) == (0, 60)
    assert summary["tip_hash"] == display(world.chain.tip.hash)

    # A node's data directory will do, and stale blocks are left out unless wanted.
    hits, summary, _ = rescan("--locators", locators, folder)
    assert hits == [h for h in want if h["best_chain"]]
    assert summary["scanned_blocks"] == 61 and summary["skipped_blocks"] == 3

    hits, summary, _ = rescan("--locators", locators, "--from", 20, "--to", 45, "--all", folder)
    assert hits == [h for h in want if 20 <= h["height"] <= 45]
    assert summary["scanned_blocks"] == 26 + 3

    hits, _, _ = rescan("--locators", "-", folder, stdin=locators.read_text())
    assert hits == [h for h in want if h["best_chain"]]


def test_damage_is_named_and_costs_only_what_is_damaged(programs, folder, world):
    blocks = world.chain.blocks
    raw = [record(b.serialize()) for b in blocks]
    whole = b"".join(raw[:30])
    at = [sum(map(len, raw[:i])) for i in range(30)]
    broken = bytearray(whole)
    broken[at[5]] ^= 1  # a magic
    broken[at[12] + 4] ^= 0x40  # a length
    broken[at[20] + 8 + 100] ^= 1  # a body
    write_blk(folder / "blocks", 0, bytes(broken), KEY)
    write_blk(folder / "blocks", 1, b"".join(raw[30:]) + raw[25], KEY)
    locators = write_locators(folder, world.locators)
    want = expected_hits(walk(folder / "blocks"), world.heights, world.best, world.locators)
    lost = {5, 12, 20}
    assert {h["height"] for h in want}.isdisjoint(lost)

    hits, summary, said = rescan("--locators", locators, folder, status=1)
    assert hits == want
    path = folder / "blocks" / "blk00000.dat"
    assert f"{path}: byte {at[5]}: bytes that belong to no record" in said
    assert f"{path}: byte {at[12]}: bytes that belong to no record" in said
    assert f"{path}: byte {at[20] + 8}: a block" in said
    assert not summary["complete"]
    assert summary["damaged_regions"] == 2 and summary["bad_blocks"] == 1 and summary["lost_blocks"] == 1
    assert summary["missing_heights"] == 2 and summary["duplicates"] == 1

    # A copy that lies elsewhere makes good for a broken block.
    with open(folder / "blocks" / "blk00002.dat", "wb") as f:
        f.write(obfuscate(b"".join(raw[i] for i in lost), KEY))
    hits, summary, _ = rescan("--locators", locators, folder, status=1)
    assert summary["lost_blocks"] == 0 and summary["missing_heights"] == 0
    want = expected_hits(
        [(p, o, b) for p, o, b in walk(folder / "blocks")], world.heights, world.best, world.locators
    )
    assert sorted(map(json.dumps, hits)) == sorted(map(json.dumps, want))


@pytest.mark.parametrize("tail", [0, 100000], ids=["cut", "preallocated"])
def test_a_block_that_the_node_is_writing_is_no_damage(programs, folder, world, tail):
    raw = [record(b.serialize()) for b in world.chain.blocks]
    write_blk(folder / "blocks", 0, b"".join(raw[:40]))
    write_blk(folder / "blocks", 1, b"".join(raw[40:60]) + raw[60][:200], tail=tail)
    locators = write_locators(folder, world.locators)
    hits, summary, said = rescan("--locators", locators, folder)
    want = expected_hits(walk(folder / "blocks"), world.heights, world.best, world.locators)
    assert hits == want
    assert summary["complete"] and summary["unfinished"] == 1 and summary["tip_height"] == 59
    assert "a record that is being written" in said

    # In a file that another one follows it is damage.
    write_blk(folder / "blocks", 2, raw[60])
    _, summary, _ = rescan("--locators", locators, folder, status=1)
    assert summary["damaged_regions"] == 1 and summary["tip_height"] == 60


def test_pruned_files_get_their_heights_from_coinbases(programs, folder, world):
    kept = world.chain.blocks[35:50] + world.stale + world.chain.blocks[53:]
    write_blk(folder / "blocks", 7, b"".join(record(b.serialize()) for b in kept), KEY, tail=999)
    locators = write_locators(folder, world.locators)
    want = expected_hits(walk(folder / "blocks"), world.heights, world.best, world.locators)
    # Three blocks are missing in the middle: what is there is scanned, and the gap is told.
    hits, summary, _ = rescan("--locators", locators, "--all", folder, status=1)
    assert hits == want
    assert (summary["lowest_height"], summary["tip_height"], summary["missing_heights"]) == (35, 60, 3)
    rescan("--locators", locators, "--from", 35, "--to", 49, folder)


def test_breaches_of_a_synthetic_chain_with_reorgs_are_found(programs, folder):
    chain, planted = synthesize(
        folder, "--blocks", "300", "--txs-per-block", "40", "--breaches", "60", "--stale-breaches", "8",
        "--both-breaches", "5", "--reorg", "100:6", "--reorg", "220:3:4",
    )  # fmt: skip
    write_blk(folder / "blocks", 0, open(chain, "rb").read(), KEY, tail=1 << 20)
    forms = ("locator_current", "locator_legacy")
    locators = write_locators(folder, {b[forms[i % 2]] for i, b in enumerate(planted)} | {b[forms[0]] for b in planted})
    hits, summary, _ = rescan("--locators", locators, "--all", folder)
    assert summary["complete"]
    found = {(h["height"], h["block_hash"], h["txid"], h["tx_index"]) for h in hits}
    assert found == {(b["height"], b["block_hash"], b["dispute_txid"], b["tx_idx"]) for b in planted}
    stale = {h["block_hash"] for h in hits if not h["best_chain"]}
    assert stale == {b["block_hash"] for b in planted if b["branch"] == "stale"} and stale


def test_real_blocks(programs, folder, shared, expected_blocks):
    for network in ("testnet3", "main"):
        blocks = [e for e in expected_blocks if e["network"] in (network, network + "net")]
        raws = [(shared / "blocks" / e["file"]).read_bytes() for e in blocks]
        data = b"".join(record(raw, network) for raw in raws)
        write_blk(folder / network, 0, data, KEY)
        parsed = [Block.parse(raw) for raw in raws]
        locators = some_locators(random.Random(1), parsed, every=5)
        heights = {b.hash: e["height"] for b, e in zip(parsed, blocks)}
        found = walk(folder / network, network)
        want = expected_hits(found, heights, set(heights), locators)
        # Blocks from all over the chain: most of it is missing.
        hits, summary, _ = rescan(
            "--locators", write_locators(folder, locators), folder / network, status=1
        )
        assert hits == want and len(hits) > 100
        assert summary["network"] == network and summary["scanned_blocks"] == len(blocks)


def test_what_is_wrong_with_the_arguments_is_said(programs, folder, world):
    blocks = folder / "blocks"
    write_blk(blocks, 0, b"".join(record(b.serialize()) for b in world.chain.blocks))
    good = write_locators(folder, {"00" * 16})
    bad = folder / "bad.txt"
    for text, why in (
        ("00\n", "line 1: not 32 hex digits: '00'"),
        ("# a\n\n" + "11" * 16 + "\n" + "0g" * 16 + "\n", "line 4: not 32 hex digits"),
        ("22" * 32 + "\n", "line 1: 64 digits"),
        ("\x01\n", "line 1: not text"),
        ("3" * 5000, "line 1: longer"),
        ("# nothing\n", "no locator in it"),
    ):
        bad.write_text(text)
        _, _, said = rescan("--locators", bad, blocks, status=2)
        assert f"{bad}: {why}" in said
    for arguments, why in (
        ((blocks,), "--locators is needed"),
        (("--locators", good), "no directory or file"),
        (("--locators", folder / "none", blocks), "No such file"),
        (("--locators", good, folder / "none"), "No such file"),
        (("--locators", good, folder / "blocks" / ".." / "blocks" / "none.dat"), "No such file"),
        (("--locators", good, "--from", 5, "--to", 4, blocks), "--from is above --to"),
        (("--locators", good, "--threads", 0, blocks), "--threads: '0' is not"),
        (("--locators", good, "--network", "moon", blocks), "no network is called 'moon'"),
        (("--locators", good, "--network", "main", blocks), "blocks of regtest, not of main"),
        (("--locators", good, good), "no file begins with the magic"),
    ):
        _, _, said = rescan(*arguments, status=2)
        assert why in said
    (blocks / "xor.dat").write_bytes(b"1234567")
    _, _, said = rescan("--locators", good, blocks, status=2)
    assert "xor.dat" in said and "not 8 bytes" in said


def test_an_interrupt_ends_it_with_the_summary_so_far(programs, folder, world):
    blocks = folder / "blocks"
    blocks.mkdir()
    data = b"".join(record(b.serialize()) for b in world.chain.blocks)
    big = b"".join([data] * 200)
    for number in range(40):
        (blocks / f"blk{number:05d}.dat").write_bytes(big)
    locators = write_locators(folder, world.locators)
    process = subprocess.Popen(
        [path_of("vigil-rescan"), "--locators", locators, blocks],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        # Sent until it has come up far enough to catch it: before that it would just end by the signal.
        status = f"/proc/{process.pid}/status"
        deadline = time.monotonic() + 30 * SLOW
        while "SigCgt" not in (text := open(status).read()) or not int(text.split("SigCgt:")[1].split()[0], 16) & 2:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60 * SLOW)
    finally:
        process.kill()
    assert process.returncode == 3, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["type"] == "summary" and lines[-1]["interrupted"] and not lines[-1]["complete"]


def test_progress_is_told_on_standard_error(programs, folder, world):
    write_blk(folder / "blocks", 0, b"".join(record(b.serialize()) for b in world.chain.blocks))
    # Without a terminal it takes five seconds until the first line, so a short run says nothing.
    _, _, said = rescan("--progress", "--locators", write_locators(folder, {"00" * 16}), folder)
    assert said == ""
