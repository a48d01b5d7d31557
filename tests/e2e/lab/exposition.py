"""The Prometheus text exposition format 0.0.4, read strictly and by the book."""

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")


def parse(text):
    """name -> {labels: value}; labels are a tuple of (name, value)."""
    assert text.endswith("\n")
    samples, types = {}, {}
    family = None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family, words = line[7:].split(" ", 1)
            assert re.fullmatch(NAME, family) and words and family not in types, line
            types[family] = None
            continue
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == family and types[family] is None, line
            assert kind in ("counter", "gauge", "histogram"), line
            assert (kind == "counter") == name.endswith("_total"), line
            types[family] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.group(1), match.group(2) or "", float(match.groups()[-1])
        assert types[family], line
        suffixes = ("_bucket", "_sum", "_count") if types[family] == "histogram" else ("",)
        assert name in [family + s for s in suffixes], line
        assert not math.isnan(value) and (types[family] != "counter" or value >= 0), line
        key = tuple(re.findall(LABEL, labels))
        assert len({k for k, _ in key}) == len(key), line
        assert key not in samples.setdefault(name, {}), line
        samples[name][key] = value
    for name, kind in types.items():
        if kind == "histogram":
            buckets = [(float(dict(k)["le"]), v) for k, v in samples[name + "_bucket"].items()]
            assert buckets == sorted(buckets) and buckets[-1][0] == math.inf, name
            counts = [v for _, v in buckets]
            assert counts == sorted(counts) and counts[-1] == samples[name + "_count"][()], name
    return samples
