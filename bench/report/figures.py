"""What the benchmark reports: its sections, how each is measured, and the figures of each.

A report is one object.  A figure is a plain number; beside figure x stands x_spread, [least, most] over the rounds,
where there were rounds.  A section that was not run or is not built is absent, and named in "missing".
"""

import dataclasses

SECTIONS = ("txid", "scan", "index", "path", "latency", "load", "api", "idle")

TITLES = {
    "txid": "Transaction ids and merkle roots",
    "scan": "Scanning whole blocks",
    "index": "Locator index",
    "path": "The whole path, TCP in to hits out",
    "latency": "From the last byte of a block",
    "load": "Time to ready",
    "api": "Clients, breaches and millions of appointments at a time",
    "idle": "A dataplane without anything to do",
}

METHODS = {
    "txid": "vigil-bench-txid, one thread. In every round each kernel and each library hashes the transactions of whole "
            "blocks again and again for 4 ms of processor time; its best time counts. GB/s counts bytes of stripped "
            "transactions. The library is the fastest interface of OpenSSL and libsodium on the same data. Raw is the "
            "same kernel on transactions that stay in the first-level cache, for which both sides count the bytes that "
            "SHA-256 sees. All hashes are compared with the library's.",
    "scan": "vigil-bench-scan, in one process. Whole blocks go through the dataplane's scan (scan_submit to "
            "scan_output), are acknowledged and evicted as the link does it. The sum of parts is the same parse, txids, "
            "merkle root and lookups (both forms of each txid) called directly, block by block. The plain way is the "
            "same parse, the fastest library for txids and merkle root, and one JudyL array for the lookups. One scan "
            "lcore is measured in processor time; scaling in elapsed time. Planted locators must be found in every "
            "pass, and nothing else.",
    "index": "vigil-bench-index, one shard on one thread. Random locators; bytes a locator are of the resident set after "
             "the adds. Misses and hits go in bursts of 64. Judy only is the same index asked without its filter. Every "
             "answer is checked.",
    "path": "bench/path/path.py. vigil-replay serves a synthetic chain over memif with 1500-byte frames to "
            "vigil-dataplane on one lcore, TCP, P2P, header chain and scan with it; hits come out on the link. TCP only "
            "is the same file through the same TCP stack into nothing, in the same round. Hits found must equal hits "
            "planted.",
    "latency": "bench/path/path.py. One block with one breach at a time. Hit: from the last byte that the node put on "
               "the wire to the hit record on the link. Broadcast: to the penalty's arrival at the node, with vigild "
               "between. Every planted breach must be hit and penalised.",
    "load": "bench/load/load.py. A store of random appointments with blobs of 350 bytes; from the dataplane's connection "
            "to the moment it watches every locator of it, over the link. The dataplane's own count must be the "
            "store's.",
    "api": "bench/api/api.py. A real vigild with a stub in the dataplane's place. Appointments are signed before the clock "
           "starts and sent over kept connections; every receipt is checked. Processor time of vigild for each stands "
           "beside one public-key recovery plus one signature of libsecp256k1, and the latency of 64 clients at a fifth "
           "of the full rate beside one synced write of 4 KiB in the same folder, measured in the same round. Then one "
           "block with thousands of breaches while clients add, more clients than places, and a store of millions in "
           "which one user and many users at one height are deleted while blocks come.",
    "idle": "bench/path/path.py. Processor time of a vigil-dataplane that is connected to a silent node, as a share of "
            "one processor, all roles on one lcore.",
}  # fmt: skip


class AtMost(float):
    """A bar that is a ceiling; all others are floors."""


@dataclasses.dataclass(frozen=True)
class Figure:
    section: str
    path: tuple
    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 2
    bar: float = None
    """What a very good implementation reaches; None where the figure depends on the machine alone."""


FIGURES = (
    Figure("txid", ("txid", "gb_s"), "txids", "GB/s"),
    Figure("txid", ("txid", "library_gb_s"), "best library", "GB/s"),
    Figure("txid", ("txid", "vs_library"), "txids / best library", "x", bar=1.8),
    Figure("txid", ("txid", "raw_gb_s"), "raw kernel, bytes hashed", "GB/s"),
    Figure("txid", ("txid", "vs_raw"), "txids / raw kernel", "x", bar=0.80),
    Figure("txid", ("merkle", "us_per_block"), "merkle root", "us a block", digits=1),
    Figure("txid", ("merkle", "library_us"), "best library", "us a block", digits=1),
    Figure("txid", ("merkle", "vs_library"), "merkle / best library", "x", bar=1.15),
    Figure("scan", ("scan", "raw_gb_s"), "whole scan, one lcore", "GB/s raw"),
    Figure("scan", ("scan", "tx_s"), "", "M tx/s", scale=1e-6),
    Figure("scan", ("scan", "parts_gb_s"), "sum of its parts", "GB/s raw"),
    Figure("scan", ("scan", "vs_parts"), "whole / sum of parts", "x", bar=0.80),
    Figure("scan", ("scan", "plain_gb_s"), "plain way (library + JudyL)", "GB/s raw"),
    Figure("scan", ("scan", "vs_plain"), "whole / plain way", "x", bar=2.6),
    Figure("path", ("path", "gbit_s"), "TCP in to hits out", "Gbit/s"),
    Figure("path", ("path", "tcp_only_gbit_s"), "TCP only", "Gbit/s"),
    Figure("path", ("path", "vs_tcp"), "path / TCP only", "x", bar=0.85),
    Figure("path", ("path", "blocks_s"), "blocks", "blocks/s", digits=0),
    Figure("api", ("api", "add", "crypto_us", "both_us"), "one recovery and one signature", "us", digits=1),
    Figure("api", ("api", "add", "disk_us", "write_sync_p50_us"), "one synced write", "us", digits=0),
    Figure("api", ("api", "add", "paced", "rate"), "64 clients, paced", "appointments/s", digits=0),
    Figure("api", ("api", "add", "paced", "p99_us"), "", "us to the receipt, p99", digits=0),
    Figure("api", ("api", "add", "paced", "p99_vs_disk"), "", "x one synced write", digits=1, bar=AtMost(5)),
    Figure("api", ("api", "breach", "breaches"), "breaches in one block", digits=0),
    Figure("api", ("api", "breach", "last_ms"), "", "ms to the last penalty", digits=0),
    Figure("api", ("api", "breach", "ack_ms"), "", "ms until all is durable", digits=0),
    Figure("api", ("api", "breach", "api_p99_ms"), "", "ms to a receipt meanwhile, p99", digits=0, bar=AtMost(100)),
    Figure("api", ("api", "overload", "flood", "accepted_s"), "8 clients for each place", "accepted/s", digits=0),
    Figure("api", ("api", "overload", "flood", "unavailable_p99_us"), "", "ms to a 503, p99", scale=1e-3, digits=0),
    Figure("api", ("api", "store", "appointments"), "store", "appointments", digits=0),
    Figure("api", ("api", "store", "ready_seconds"), "", "s to ready", bar=AtMost(20)),
    Figure("api", ("api", "store", "rss_peak_mb"), "", "MB resident, at most", digits=0, bar=AtMost(1024)),
    Figure("api", ("api", "store", "delete_user", "delay_ms"), "deleting one user", "ms more for a block", digits=0,
           bar=AtMost(50)),
    Figure("api", ("api", "store", "delete_many", "delay_ms"), "deleting many", "ms more for a block", digits=0,
           bar=AtMost(50)),
    Figure("api", ("api", "store", "space_back"), "disk space that comes back", "of what was deleted"),
    Figure("idle", ("idle_cpu",), "idle dataplane", "of a processor", digits=4, bar=AtMost(0.02)),
    Figure("idle", ("idle_rss_mb",), "idle dataplane, memory", "MB resident", digits=0, bar=AtMost(200)),
)

# One line for each element of a list, or for each size of block.
ROWS = {
    "scaling": ("scan", "scan_lcores", "{} scan lcores", (("raw_gb_s", "GB/s raw", 1, 2, None),
                                                          ("vs_one", "x one", 1, 2, None))),
    "index": ("index", "locators", "{:,} locators", (("bytes_per_locator", "B each", 1, 1, AtMost(30)),
                                                     ("miss_s", "M misses/s", 1e-6, 1, None),
                                                     ("hit_s", "M hits/s", 1e-6, 1, None),
                                                     ("add_s", "M adds/s", 1e-6, 2, None),
                                                     ("delete_s", "M deletes/s", 1e-6, 2, None),
                                                     ("judy_only_miss_s", "M misses/s, Judy only", 1e-6, 2, None),
                                                     ("vs_judy", "x Judy only", 1, 1, 20))),
    "latency_us": ("latency", "block", "{} blocks", (("hit_p50", "us to hit, median", 1, 0, None),
                                                     ("hit_p99", "us to hit, p99", 1, 0, AtMost(1000)),
                                                     ("broadcast_p50", "us to penalty, median", 1, 0, None),
                                                     ("broadcast_p99", "us to penalty, p99", 1, 0,
                                                      AtMost(3000)))),
    "api_closed": ("api", "connections", "{} clients", (("accepted_s", "appointments/s", 1, 0, None),
                                                        ("vs_crypto", "x recovery + signature", 1, 2, AtMost(2.5)),
                                                        ("syncs_s", "syncs/s", 1, 0, None))),
    "load": ("load", "locators", "{:,} appointments", (("seconds", "s until all are watched", 1, 2, AtMost(10)),
                                                      ("start_to_loaded_seconds", "s from vigild's start", 1, 2, None))),
}  # fmt: skip
# Some bars are of a number of clients: with few there is nothing to share.
CLIENTS_FOR_BAR = 64
# Some are of a size: an index that no cache holds, a store of millions, blocks near the limit.
LOCATORS_FOR_BAR = 10_000_000
OF_MANY_LOCATORS = {("scan", "vs_plain"), ("index", "vs_judy"), ("index", "bytes_per_locator"), ("load", "seconds")}
MB_FOR_BAR = 3.5
OF_LARGE_BLOCKS = {("latency", "hit_p99"), ("latency", "broadcast_p99")}


def _applies(section, key, holder):
    if (section, key) == ("api", "vs_crypto"):
        return holder["connections"] >= CLIENTS_FOR_BAR
    if (section, key) in OF_MANY_LOCATORS:
        return holder["locators"] >= LOCATORS_FOR_BAR
    if (section, key) in OF_LARGE_BLOCKS:
        return float(holder["block"].removesuffix("MB")) >= MB_FOR_BAR
    return True


@dataclasses.dataclass
class Line:
    """One figure as it is shown."""

    section: str
    label: str
    unit: str
    digits: int
    value: float
    spread: tuple
    bar: float

    def number(self, v):
        return f"{v:,.{self.digits}f}"

    def spread_text(self):
        return f"{self.number(self.spread[0])} .. {self.number(self.spread[1])}" if self.spread else ""

    @property
    def met(self):
        return self.value <= self.bar if isinstance(self.bar, AtMost) else self.value >= self.bar

    def bar_text(self):
        if self.bar is None:
            return ""
        return f"{'at most ' if isinstance(self.bar, AtMost) else ''}{self.bar:g}: {'met' if self.met else 'NOT MET'}"


def with_spreads(o):
    """Rewrites {"spread": {k: [least, most]}} as siblings k_spread, at any depth."""
    if isinstance(o, list):
        return [with_spreads(v) for v in o]
    if not isinstance(o, dict):
        return o
    out = {k: with_spreads(v) for k, v in o.items() if k != "spread" or not isinstance(v, dict)}
    if isinstance(o.get("spread"), dict):
        out.update({f"{k}_spread": v for k, v in o["spread"].items()})
    return out


def _line(section, label, unit, digits, holder, key, scale, bar):
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, (int, float)):
        return None
    if bar is not None and not _applies(section, key, holder):
        bar = None
    spread = holder.get(f"{key}_spread")
    return Line(section, label, unit, digits, value * scale,
                tuple(v * scale for v in spread) if spread else None, bar)


def rows_of(report, key):
    """The elements of a list section, the sizes of block of the latencies among them."""
    found = report.get(key)
    if key == "api_closed":
        return report.get("api", {}).get("add", {}).get("closed", [])
    if key == "latency_us" and found:
        return [{"block": size, **row} for size, row in found.get("by_size", {}).items()]
    if isinstance(found, dict):
        return found.get("rows", [found])
    return found or []


def lines(report):
    out = []
    for f in FIGURES:
        holder = report
        for part in f.path[:-1]:
            holder = holder.get(part, {}) if isinstance(holder, dict) else {}
        out.append(_line(f.section, f.label, f.unit, f.digits, holder, f.path[-1], f.scale, f.bar))
    for key, (section, name, label, columns) in ROWS.items():
        for row in rows_of(report, key):
            for column, unit, scale, digits, bar in columns:
                out.append(_line(section, label.format(row.get(name)), unit, digits, row, column, scale, bar))
    return sorted((line for line in out if line), key=lambda line: SECTIONS.index(line.section))
