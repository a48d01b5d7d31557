"""Where things are, and what may be missing: a test that cannot run is skipped with the reason."""

import json
import os
import pathlib
import random
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from lab import netns, secp  # noqa: E402
from lab.node import Node  # noqa: E402
from lab.programs import (  # noqa: E402
    SLOW,
    AfPacket,
    Memif,
    Replay,
    Tower,
    node_address,
    path_of,
    synthesize,
    wait_until,
)
from lab.teos import CURRENT, LEGACY, Client, Refused, locator, seal  # noqa: E402


@pytest.fixture(scope="session")
def shared():
    """The test data beside the checkout."""
    folder = pathlib.Path(os.environ.get("VIGIL_SHARED") or PROJECT.parent / "shared")
    if not folder.is_dir():
        pytest.skip("no test data beside the checkout (../shared)")
    return folder


@pytest.fixture(scope="session")
def vectors(shared):
    def load(name):
        return json.loads((shared / "vectors" / name).read_text())

    return load


@pytest.fixture
def rng(request):
    """Seeded by the test's name: repeatable, and different from the next test's."""
    return random.Random(request.node.nodeid)


@pytest.fixture
def namespace():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    ns = netns.NetNs()
    yield ns
    ns.close()


@pytest.fixture(scope="session")
def expected_blocks(shared):
    return json.loads((shared / "blocks" / "expected.json").read_text())["blocks"]


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "main_path: also run against the sanitizer builds, where everything is slower"
    )
    config.addinivalue_line("markers", "threads: also run against the TSan build")


@pytest.fixture(scope="session")
def programs():
    missing = [
        p
        for p in (
            "vigil-dataplane", "vigild", "vigil-cli", "vigil-rescan", "vigil-replay", "vigil-client",
        )  # fmt: skip
        if not os.access(path_of(p), os.X_OK)
    ]
    assert not missing, f"not built: {', '.join(missing)}: run tests/run.sh, or set VIGIL_BUILD"


@pytest.fixture
def folder():
    """Short, because the path of a Unix socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="vigil-") as path:
        yield pathlib.Path(path)


class Lab:
    """A namespace with a node on the kernel's TCP and a tower that speaks to it."""

    def __init__(self, namespace, folder):
        self.namespace, self.folder = namespace, folder
        self.nodes, self.towers = [], []

    def node(self, chain, kind=Node, network="regtest", host="0.0.0.0"):
        node = kind(chain, network=network, netns=self.namespace, host=host)
        self.nodes.append(node)
        return node

    def tower(self, node, device=AfPacket, network="regtest"):
        dev = device(self.namespace)
        dev.peer = node_address(dev.families[0], node.port)
        tower = Tower(self.folder, dev, network)
        node.watch = tower.check
        self.towers.append(tower)
        return tower

    def client(self, tower, rng, form=CURRENT, generation=CURRENT):
        secret = rng.randrange(1, secp.N)
        client = Client("127.0.0.1", tower.port, secret, generation, form)
        client.timeout *= SLOW
        client.netns = tower.control_namespace
        wait_until(lambda: registered(client), "the tower to take registrations")
        return client


def registered(client):
    """A tower that knows no block yet answers 503."""
    try:
        return client.register()
    except Refused as refusal:
        if refusal.status == 503:
            return None
        raise


class MemifLab:
    """vigil-replay as the node, joined to a tower by memif: needs no rights and no device."""

    def __init__(self, folder, rng, families=(4,)):
        self.folder, self.rng = folder, rng
        self.replay = None
        self.network = "regtest"
        self.user = None
        self.tower = Tower(folder, Memif(folder, families))
        self.clients = {}
        self.chain = None
        self.planted = []

    def synth(self, *options):
        self.chain, self.planted = synthesize(self.folder, *options)

    def serve(self, *options):
        self.replay = Replay(
            self.folder, self.tower.device, self.chain, *options, network=self.network, user=self.user
        )
        return self.replay

    def start(self):
        self.tower.network = self.tower.settings["tower"]["network"] = self.network
        self.tower.user = self.user
        self.tower.start()
        for form in (CURRENT, LEGACY):
            client = Client("127.0.0.1", self.tower.port, self.rng.randrange(1, secp.N), form=form)
            client.timeout *= SLOW
            wait_until(lambda c=client: registered(c), "the tower to take registrations")
            self.clients[form] = client

    def add_planted(self, planted=None):
        """Appointments for planted breaches, in the two forms of locator in turn."""
        for i, breach in enumerate(self.planted if planted is None else planted):
            form = (CURRENT, LEGACY)[i % 2]
            txid = bytes.fromhex(breach["dispute_txid"])[::-1]
            loc = locator(txid, form)
            assert loc.hex() == breach[f"locator_{form}"]
            self.clients[form].add(loc, seal(bytes.fromhex(breach["penalty_hex"]), txid, form))

    def penalised(self, planted=None, timeout=60):
        """Waits until exactly these were pushed to the node (and disputes that a reorg took off the chain)."""
        planted = self.planted if planted is None else planted
        expected = {b["penalty_txid"] for b in planted}
        disputes = {b["dispute_txid"] for b in self.planted if b["branch"] != "best"}

        def all_seen():
            self.tower.check()
            self.replay.check()
            return self.replay.penalties() >= expected

        wait_until(all_seen, f"{len(expected)} penalties", timeout)
        assert self.replay.penalties() - disputes == expected
        assert self.replay.events("bad_tx") == []

    def tracked(self):
        return {row["penalty_txid"] for row in self.tower.trackers()}

    def programs(self):
        return [p for p in (self.tower.control, self.tower.dataplane, self.replay) if p is not None]


@pytest.fixture
def memif(programs, folder, rng, request):
    """Over IPv4; a test may say otherwise: parametrize("memif", [(6,), (4, 6)], indirect=True)."""
    made = MemifLab(folder, rng, getattr(request, "param", (4,)))
    try:
        yield made
        for program in made.programs():
            program.terminate()
    finally:
        for program in made.programs():
            program.kill()
            print(f"--- {program.name}\n{program.output()[-6000:]}")


@pytest.fixture
def lab(programs, namespace, folder):
    made = Lab(namespace, folder)
    try:
        yield made
        for tower in made.towers:
            tower.stop()
        for node in made.nodes:
            assert node.faults == []
    finally:
        for tower in made.towers:
            tower.kill()
            for program in (tower.dataplane, tower.control):
                if program is not None:
                    # pytest shows this only when the test failed.
                    print(f"--- {program.name}\n{program.output()[-6000:]}")
        for node in made.nodes:
            node.close()
