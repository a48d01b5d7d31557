"""A node's RPC behind TLS: it gets the password only after it has shown a certificate that was named."""

import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.node import RpcNode
from lab.programs import Memif, Tower, wait_until


def self_signed(folder, name, address):
    """(certificate, key) for that address, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{name}.cert", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


@pytest.fixture
def node_with(programs, folder):
    """Starts a node with that certificate and a vigild that trusts another or the same."""
    made = []

    def start(shown, trusted, scheme="https://"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*shown)
        node = RpcNode(tls=context)
        node.answers["getblockchaininfo"] = {"chain": "regtest", "blocks": 7, "headers": 7}
        tower = Tower(folder, Memif(folder))
        tower.settings["rpc"] = {
            "connect": f"{scheme}127.0.0.1:{node.port}",
            "user": "lab",
            "password": "secret",
        }
        if trusted:
            tower.settings["rpc"]["certificate"] = trusted[0]
        made.extend((tower, node))
        tower.start_control()
        return node, tower

    yield start
    made[0].stop()
    made[1].close()


def state_of(tower):
    return wait_until(
        lambda: [n for n in tower.info()["nodes"] if n["state"] != "unknown"], "the first probe"
    )[0]


def test_a_node_with_the_certificate_that_was_named_is_used(node_with, folder):
    own = self_signed(folder, "own", "127.0.0.1")
    node, tower = node_with(own, own)
    assert state_of(tower)["state"] == "usable"
    assert node.calls[0][0] == "getblockchaininfo"


@pytest.mark.parametrize("case", ["another certificate", "another address", "nothing named"])
def test_a_node_that_cannot_prove_itself_gets_no_request(node_with, folder, case):
    own = self_signed(folder, "own", "127.0.0.2" if case == "another address" else "127.0.0.1")
    other = self_signed(folder, "other", "127.0.0.1")
    trusted = {"another certificate": other, "another address": own, "nothing named": None}[case]
    node, tower = node_with(own, trusted)
    shown = state_of(tower)
    assert shown["state"] == "down" and "SSL" in shown["error"], shown
    assert node.calls == []


def test_a_node_that_speaks_tls_where_plain_http_was_named_is_shown_as_down(node_with, folder):
    own = self_signed(folder, "own", "127.0.0.1")
    node, tower = node_with(own, None, scheme="")
    assert state_of(tower)["state"] == "down"
    assert node.calls == []
