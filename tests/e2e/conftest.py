"""Where things are, and what may be missing: a test that cannot run is skipped with the reason."""

import json
import os
import pathlib
import random
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from lab import netns  # noqa: E402


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
