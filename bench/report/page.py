"""A report as lines for a terminal and as one HTML page that needs nothing but itself."""

import html

from report import figures, plots

STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1 { margin-bottom: 0; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1em 0; } td, th { padding: .15em .8em; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } tr:nth-child(even) { background: #f5f5f5; }
.met { color: #2b7a2b; } .unmet, .failed { color: #b03030; font-weight: bold; } .method { color: #555; }
figure { margin: 1em 0; } figcaption { font-weight: bold; } svg { max-width: 100%; height: auto; }
"""


def machine_line(report):
    m = report["machine"]
    return f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_gb']} GB, Linux {m['kernel']}"


def _groups(lines):
    """Lines with the label only where it changes."""
    last = None
    for line in lines:
        key = (line.section, line.label)
        yield line, line.label if key != last else ""
        last = key


def text(report, verbose=False):
    out = [f"vigil {report['version']}, commit {report['commit']}", machine_line(report), report["data"]]
    shown = figures.lines(report)
    for section in figures.SECTIONS:
        if section not in report["sections"] and section not in report["missing"] and section not in report["failed"]:
            continue
        out += ["", f"{figures.TITLES[section]}"]
        if verbose:
            out.append(f"  ({figures.METHODS[section]})")
        if section in report["failed"]:
            out.append(f"  FAILED: {report['failed'][section]}")
        elif section in report["missing"]:
            out.append(f"  not here: {report['missing'][section]}")
        for line, label in _groups([x for x in shown if x.section == section]):
            out.append(f"  {label:<28} {line.number(line.value):>12} {line.unit:<24} {line.spread_text():<22} "
                       f"{'bar ' + line.bar_text() if line.bar else ''}".rstrip())
    out += ["", *(f"check: {c['what']}: {'ok' if c['ok'] else 'WRONG'}" for c in report["checks"]), *report["notes"]]
    return "\n".join(out)


def _table(lines):
    rows = []
    for line, label in _groups(lines):
        state = "" if line.bar is None else "met" if line.met else "unmet"
        rows.append(
            f"<tr><td>{html.escape(label)}</td><td class=n>{line.number(line.value)}</td><td>{html.escape(line.unit)}</td>"
            f"<td class=n>{line.spread_text()}</td><td class='{state}'>{line.bar_text()}</td></tr>")
    head = "<tr><th></th><th>median</th><th></th><th>least .. most</th><th>bar</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>" if rows else ""


def _section(report, section, lines, drawn):
    out = [f"<h2 id='{section}'>{html.escape(figures.TITLES[section])}</h2>",
           f"<p class=method>{html.escape(figures.METHODS[section])}</p>"]
    if section in report["failed"]:
        out.append(f"<p class=failed>Failed: {html.escape(report['failed'][section])}</p>")
    elif section in report["missing"]:
        out.append(f"<p class=failed>Not here: {html.escape(report['missing'][section])}</p>")
    out.append(_table([x for x in lines if x.section == section]))
    out += [f"<figure><figcaption>{html.escape(caption)}</figcaption>{svg}</figure>" for caption, svg in drawn]
    return "\n".join(out)


def page(report):
    try:
        drawn, note = plots.drawings(report), ""
    except plots.NoGnuplot:
        drawn, note = {}, "<p class=failed>No drawings: gnuplot is not installed (tests/setup.sh --bench).</p>"
    lines = figures.lines(report)
    wanted = [s for s in figures.SECTIONS if s in {**report["sections"], **report["missing"], **report["failed"]}]
    checks = "".join(f"<li class='{'met' if c['ok'] else 'failed'}'>{html.escape(c['what'])}: "
                     f"{'ok' if c['ok'] else 'WRONG'}</li>" for c in report["checks"])
    checks += "".join(f"<li>{html.escape(n)}</li>" for n in report["notes"])
    body = "\n".join(_section(report, s, lines, drawn.get(s, [])) for s in wanted)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Vigil benchmark</title><style>{STYLE}</style></head><body>
<h1>Vigil benchmark</h1>
<p>Version {html.escape(report['version'])}, commit {html.escape(report['commit'])}.
{html.escape(machine_line(report))}. {html.escape(report['data'])}</p>
<p>Every figure is a median over the rounds of its section, with the least and the most beside it; what is compared is
measured alternately, and ratios are of neighbours in time. A bar is what a very good implementation reaches.</p>
{note}<ul>{checks}</ul>
{body}
</body></html>
"""
