"""Drawings of a report as SVG, by gnuplot.  What a report does not have is not drawn."""

import re
import shutil
import subprocess

from report import figures

COLOURS = ("#2f6db3", "#d9822b", "#5b9e4d", "#8a63b0", "#999999")
HEAD = """
set terminal svg size 720,340 fixed font "sans-serif,13" background "#ffffff"
set encoding utf8
set border 3 lc rgb "#666666"
set tics nomirror textcolor rgb "#333333"
set grid ytics lc rgb "#dddddd"
set key outside top center horizontal
"""


class NoGnuplot(Exception):
    """Drawings are an extra: the figures are there without them."""


def _data(name, rows):
    return f"${name} << END\n" + "".join(" ".join(str(v) for v in row) + "\n" for row in rows) + "END\n"


def _quote(text):
    return '"' + str(text).replace('"', "") + '"'


def _draw(ident, script):
    if not shutil.which("gnuplot"):
        raise NoGnuplot
    done = subprocess.run(["gnuplot", "-d"], input=HEAD + script, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 or "<svg" not in done.stdout:
        raise RuntimeError(f"gnuplot: {done.stderr.strip()[-400:]}")
    svg = done.stdout[done.stdout.index("<svg") :]
    # Several drawings stand in one page: each names its parts for itself.
    svg = re.sub(r"\bid='([^']*)'", rf"id='{ident}-\1'", svg)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{ident}-\1"', svg)
    svg = re.sub(r"(['\"(])#(gp[^'\")]*)", rf"\1#{ident}-\2", svg)
    return svg


def _bars(ident, ylabel, bars, colour=COLOURS[0]):
    """bars: (name, value, least, most)."""
    rows = [(i, _quote(name), value, low, high) for i, (name, value, low, high) in enumerate(bars)]
    return _draw(ident, _data("d", rows) + f"""
set ylabel {_quote(ylabel)}
set yrange [0:*]
set xrange [-0.7:{len(rows) - 0.3}]
set boxwidth 0.55
set style fill solid 0.85 noborder
unset key
plot $d using 1:3:xtic(2) with boxes lc rgb "{colour}", \\
     $d using 1:3:4:5 with yerrorbars lc rgb "#333333" pt 7 ps 0, \\
     $d using 1:5:(sprintf("%.2f", $3)) with labels offset 0,0.8 textcolor rgb "#333333"
""")


def _with_spread(holder, key, scale=1.0):
    value = holder[key]
    low, high = holder.get(f"{key}_spread", (value, value))
    return value * scale, low * scale, high * scale


def _txid(report):
    t = report.get("txid")
    if not t:
        return []
    bars = [(name, *_with_spread(t, key)) for name, key in
            ((f"{t['library']}", "library_gb_s"), (f"{t['kernel']}", "gb_s"), ("raw (bytes hashed)", "raw_gb_s"))]
    return [("Txids, GB/s of stripped transactions", _bars("txid", "GB/s", bars))]


def _stack(ident, columns, parts):
    """columns: (name, {part: us})."""
    rows = [(_quote(name), *(values.get(f"{p}_us", 0) for p in parts)) for name, values in columns]
    plot = ", ".join(
        f'$d using {i + 2}:xtic(1) title {_quote(p)} lc rgb "{COLOURS[i % len(COLOURS)]}"' for i, p in enumerate(parts))
    return _draw(ident, _data("d", rows) + f"""
set ylabel "us a block"
set yrange [0:*]
set style data histograms
set style histogram rowstacked
set style fill solid 0.85 noborder
set boxwidth 0.55
plot {plot}
""")


def _scan(report):
    s = report.get("scan")
    if not s:
        return []
    bars = [(name, *_with_spread(s, key)) for name, key in
            (("whole scan", "raw_gb_s"), ("sum of its parts", "parts_gb_s"), ("plain way", "plain_gb_s"))]
    drawings = [("Scan on one lcore, GB/s of raw blocks", _bars("scan", "GB/s", bars))]
    if s.get("parts") and s.get("plain_parts"):
        drawings.append(("Where the time of a block goes",
                         _stack("parts", [("scan's parts", s["parts"]), ("plain way", s["plain_parts"])],
                                ("parse", "txid", "merkle", "lookup", "remember"))))
    return drawings


def _scaling(report):
    rows = report.get("scaling") or []
    if len(rows) < 2:
        return []
    data = [(r["scan_lcores"], *_with_spread(r, "raw_gb_s")) for r in rows]
    return [("Scaling with scan lcores", _draw("scaling", _data("d", data) + f"""
set ylabel "GB/s"
set xlabel "scan lcores"
set yrange [0:*]
set xrange [0:{data[-1][0] + 1}]
set xtics 0,{max(1, data[-1][0] // 8)}
plot $d using 1:2:3:4 with yerrorbars notitle lc rgb "{COLOURS[0]}", \\
     $d using 1:2 with linespoints title "measured" lc rgb "{COLOURS[0]}" pt 7, \\
     {data[0][1] / data[0][0]} * x title "in proportion" lc rgb "#bbbbbb" dt 2
"""))]


def _index(report):
    rows = figures.rows_of(report, "index")
    if not rows:
        return []
    names = [(f"{r['locators'] / 1e6:g} M", r) for r in rows]
    rates = [(i, _quote(n), r["miss_s"] / 1e6, r["hit_s"] / 1e6, r["judy_only_miss_s"] / 1e6)
             for i, (n, r) in enumerate(names)]
    speed = _draw("index", _data("d", rates) + f"""
set ylabel "M lookups/s"
set xlabel "locators"
set logscale y
set yrange [0.1:*]
set xrange [-0.6:{len(rates) - 0.4}]
set style fill solid 0.85 noborder
set boxwidth 0.22
plot $d using ($1-0.25):3 with boxes title "misses" lc rgb "{COLOURS[0]}", \\
     $d using 1:4:xtic(2) with boxes title "hits" lc rgb "{COLOURS[2]}", \\
     $d using ($1+0.25):5 with boxes title "misses, Judy only" lc rgb "{COLOURS[1]}"
""")
    memory = _bars("memory", "bytes a locator", [(n, *_with_spread(r, "bytes_per_locator")) for n, r in names])
    return [("Lookups by number of locators", speed), ("Memory of a locator", memory)]


def _path(report):
    p = report.get("path")
    if not p:
        return []
    forms = [(p.get("block_form", "full"), p)] + [(k.removesuffix("_form"), v) for k, v in p.items()
                                                  if k.endswith("_form") and isinstance(v, dict)]
    bars = []
    for form, values in forms:
        bars += [(f"{form} blocks", *_with_spread(values, "gbit_s")),
                 ("TCP only", *_with_spread(values, "tcp_only_gbit_s"))]
    return [("TCP in to hits out, against TCP alone", _bars("path", "Gbit/s", bars))]


def _latency(report):
    rows = figures.rows_of(report, "latency_us")
    if not rows:
        return []
    columns = (("hit_p50", "hit, median"), ("hit_p99", "hit, p99"),
               ("broadcast_p50", "penalty at the node, median"), ("broadcast_p99", "penalty at the node, p99"))
    data = [(i, _quote(r["block"]), *(r.get(c, "NaN") for c, _ in columns)) for i, r in enumerate(rows)]
    plot = ", ".join(
        f'$d using 1:{i + 3}:xtic(2) with linespoints title {_quote(title)} lc rgb "{COLOURS[i // 2]}" '
        f'{"dt 2 pt 6" if i % 2 else "pt 7"}'
        for i, (_, title) in enumerate(columns))
    return [("Times by size of block", _draw("latency", _data("d", data) + f"""
set ylabel "us"
set logscale y
set xlabel "block"
set xrange [-0.3:{len(data) - 0.7}]
plot {plot}
"""))]


def _load(report):
    rows = [r for r in figures.rows_of(report, "load") if isinstance(r.get("seconds"), (int, float))]
    bars = [(f"{r['locators'] / 1e6:g} M", *_with_spread(r, "seconds")) for r in rows]
    return [("Seconds until every appointment is watched", _bars("load", "s", bars))] if bars else []


def drawings(report):
    """{section: [(caption, svg)]}; NoGnuplot when there is none."""
    return {
        "txid": _txid(report),
        "scan": _scan(report) + _scaling(report),
        "index": _index(report),
        "path": _path(report),
        "latency": _latency(report),
        "load": _load(report),
    }
