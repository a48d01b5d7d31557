"""Real blocks, through real TCP: two consecutive ones of testnet3, anchored below the first."""

import json
import subprocess

import pytest

from lab.bitcoin import Block, Breach, Chain, display
from lab.programs import SLOW, path_of
from lab.teos import CURRENT, LEGACY

FIRST = 928848


def real_block(shared, height):
    return Block.parse((shared / "blocks" / f"block{height}.raw").read_bytes())


@pytest.mark.parametrize("form", [CURRENT, LEGACY])
def test_a_real_txid_is_hit(lab, rng, shared, form):
    first, second = real_block(shared, FIRST), real_block(shared, FIRST + 1)
    node = lab.node(Chain([first], base_height=FIRST), network="testnet3")
    tower = lab.tower(node, network="testnet3")
    tower.settings["chain"] = {"start": "anchor", "anchor": f"{display(first.prev)}:{FIRST - 1}"}
    tower.memory_mb = 384
    tower.start()
    client = lab.client(tower, rng, form)
    tower.wait_height(FIRST)

    # In the block that is known already, and in the one to come: first, last and some in between.
    targets = [first.txs[1], first.txs[-1], second.txs[0], second.txs[500], second.txs[-1]]
    made = [Breach.of_txid(rng, tx.txid) for tx in targets]
    for tx, penalty in zip(targets, made):
        client.add_breach(Breach(tx, penalty))
    node.switch(Chain([first, second], base_height=FIRST))
    for penalty in made:
        assert node.wait_transaction(penalty.txid, 30 * SLOW), "a real txid was not hit"
    assert len({t[1] for t in node.transactions}) == len(made)
    tower.wait_height(FIRST + 1)


def test_inspect_gives_the_expected_values(programs, shared, expected_blocks):
    files = [str(shared / "blocks" / e["file"]) for e in expected_blocks]
    done = subprocess.run(
        [path_of("vigil-replay"), "inspect", "--json", *files],
        capture_output=True,
        timeout=60 * SLOW,
        check=True,
    )
    keys = (
        "height_from_bip34 block_hash prev_hash merkle_root merkle_root_verifies merkle_mutated "
        "pow_valid tx_count total_bytes stripped_bytes weight first_txid last_txid sha256_of_txids"
    ).split()
    got = json.loads(done.stdout)
    assert len(got) == len(expected_blocks)
    for ours, theirs in zip(got, expected_blocks):
        assert ours["file"].endswith(theirs["file"])
        for key in keys:
            assert ours[key] == theirs[key], (theirs["file"], key)
