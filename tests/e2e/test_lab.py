"""The test library against published vectors: it is the judge of the C code, so it is tried first."""

import hashlib

import pytest

from lab import bitcoin, secp, teos


def test_signatures_are_those_of_the_vectors(vectors):
    for v in vectors("teos.json")["sign"]:
        secret, message = int(v["secret_key"], 16), bytes.fromhex(v["message"])
        assert secp.public_key(secret).hex() == v["public_key"]
        assert secp.sign(secret, message) == v["signature_zb"], v["id"]


def test_keys_are_recovered_from_foreign_signatures(vectors):
    for v in vectors("teos.json")["recover"]:
        key = secp.recover(bytes.fromhex(v["message"]), v["signature_zb"])
        assert key.hex() == v["public_key"], v["id"]


def test_bad_signatures_are_refused(vectors):
    data = vectors("teos.json")
    for v in data["recover_invalid"]:
        with pytest.raises(secp.BadSignature):
            secp.recover(bytes.fromhex(v["message"]), v["signature_zb"])
    for v in data["zbase32_invalid"]:
        with pytest.raises(secp.BadSignature):
            secp.zbase32_decode(v["zb"])


def test_zbase32_round_trip(vectors):
    for v in vectors("teos.json")["zbase32_valid"]:
        assert secp.zbase32_encode(bytes.fromhex(v["bytes"])) == v["zb"]
        assert secp.zbase32_decode(v["zb"]).hex() == v["bytes"]


def test_locators_and_keys_of_both_generations(vectors):
    for v in vectors("teos.json")["txid_derivation"]:
        txid = bitcoin.from_display(v["txid_display"])
        for generation in (teos.CURRENT, teos.LEGACY):
            assert teos.locator(txid, generation).hex() == v[f"locator_{generation}"]
            assert teos.blob_key(txid, generation).hex() == v[f"key_{generation}"]


def test_blobs_seal_and_open_as_in_the_vectors(vectors):
    data = vectors("teos.json")
    for v in data["blob_valid"]:
        txid, plain = bitcoin.from_display(v["dispute_txid_display"]), bytes.fromhex(v["plaintext"])
        assert teos.seal(plain, txid, v["generation"]).hex() == v["encrypted_blob"], v["id"]
        assert teos.open_blob(bytes.fromhex(v["encrypted_blob"]), bytes.fromhex(v["key"])) == plain
    for v in data["blob_invalid"]:
        opened = teos.open_blob(bytes.fromhex(v["encrypted_blob"]), bytes.fromhex(v["key"]))
        assert (opened is not None) == v["aead_ok"], v["id"]


def test_receipts_have_the_bytes_of_the_vectors(vectors):
    data = vectors("teos.json")
    for v in data["registration_receipts"]:
        message = teos.registration_receipt(
            v["receipt_generation"],
            bytes.fromhex(v["user_id"]),
            v["available_slots"],
            v["subscription_start"],
            v["subscription_expiry"],
        )
        assert message.hex() == v["serialized"], v["id"]
        assert secp.recover(message, v["tower_signature_zb"]).hex() == v["tower_id"]
    for v in data["appointment_receipts"]:
        message = teos.appointment_receipt(
            v["receipt_generation"], v["user_signature_zb"], v["start_block"]
        )
        assert message.hex() == v["serialized"], v["id"]
        assert secp.recover(message, v["tower_signature_zb"]).hex() == v["tower_id"]


def test_slots(vectors):
    for v in vectors("teos.json")["slots"]:
        assert teos.slots(v["blob_len"]) == v["slots"]


def test_real_blocks_parse_and_serialize(shared, expected_blocks):
    for e in expected_blocks:
        raw = (shared / "blocks" / e["file"]).read_bytes()
        block = bitcoin.Block.parse(raw)
        txids = [tx.txid for tx in block.txs]
        assert block.serialize() == raw
        assert bitcoin.display(block.hash) == e["block_hash"]
        assert bitcoin.merkle_root(txids) == block.merkle
        assert len(block.serialize(witness=False)) == e["stripped_bytes"]
        assert hashlib.sha256(b"".join(txids)).hexdigest() == e["sha256_of_txids"]


def test_merkle_roots_of_the_vectors(vectors):
    for v in vectors("bitcoin.json")["merkle"]:
        assert bitcoin.merkle_root(map(bytes.fromhex, v["leaves"])).hex() == v["root"], v["name"]


def test_coinbase_heights_of_the_vectors(vectors):
    for v in vectors("bitcoin.json")["bip34"]:
        assert bitcoin.height_push(v["height"]).hex() == v["script_prefix"]


def test_a_mined_regtest_chain_links_and_has_work():
    chain = bitcoin.Chain.regtest(20)
    genesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    assert bitcoin.display(chain.blocks[0].hash) == genesis
    for below, above in zip(chain.blocks, chain.blocks[1:]):
        assert above.prev == below.hash
        assert int.from_bytes(above.hash, "little") <= bitcoin.bits_to_target(above.bits)
        assert bitcoin.Block.parse(above.serialize()).serialize() == above.serialize()


def test_a_fork_shares_its_past_only():
    chain = bitcoin.Chain.regtest(10)
    other = chain.fork(3)
    other.extend()
    assert other.height == 8
    assert other.blocks[:8] == chain.blocks[:8]
    assert other.tip.hash != chain.blocks[8].hash


def test_a_breach_is_spent_by_its_penalty(rng):
    breach = bitcoin.Breach.make(rng)
    assert breach.penalty.inputs[0].txid == breach.dispute.txid
    again = bitcoin.Tx.parse(breach.penalty.serialize())
    assert again.txid == breach.penalty.txid and again.wtxid != again.txid
