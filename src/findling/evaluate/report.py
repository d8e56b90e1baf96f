"""A report as one HTML file that needs nothing else: means, two plots, and every query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from findling.evaluate import Judged, Report

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 460, 220, 46, 20, 34, 10


def write_report(report: Report, path: Path) -> None:
    """Write the report to `path`: per-query figures, worst first, and latency and nDCG as SVG."""
    path.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The report as HTML."""
    latency = report.latency_ms
    cards = [
        ("nDCG@10", f"{report.ndcg_at_10:.3f}"),
        ("MAP", f"{report.map:.3f}"),
        ("MRR", f"{report.mrr:.3f}"),
        ("recall@100", f"{report.recall_at_100:.3f}"),
        ("queries", f"{report.queries:,}"),
        ("latency p50 · p95 · p99", " · ".join(f"{latency[p]:.1f}" for p in ("p50", "p95", "p99")) + " ms"),
    ]
    told = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in cards)
    worst = sorted(report.judged, key=lambda one: (one.ndcg_at_10, one.id))
    mode = f" · {escape(report.mode)}" if report.mode else ""
    gains = sorted((one.ndcg_at_10 for one in report.judged), reverse=True)
    times = sorted(one.ms for one in report.judged)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Search quality{mode}</title><style>{STYLE}</style></head><body>
<h1>Search quality{mode}</h1>
<dl>{told}</dl>
<div class="plots">
{_plot("nDCG@10 of each query, best first", "share of queries", "nDCG@10", gains, 1.0)}
{_plot("Latency of each query, fastest first", "share of queries", "ms", times, max(times, default=0.0))}
</div>
<table><caption>Every query, worst first</caption>
<thead><tr><th>query<th>text<th>relevant<th>nDCG@10<th>AP<th>RR<th>recall@100<th>ms</tr></thead>
<tbody>
{"".join(_row(one) for one in worst)}</tbody></table>
</body></html>
"""


def _row(one: Judged) -> str:
    figures = (one.ndcg_at_10, one.average_precision, one.reciprocal_rank, one.recall_at_100)
    cells = "".join(f"<td>{figure:.3f}" for figure in figures)
    name, text = escape(_readable(one.id)), escape(_readable(one.text))
    return f"<tr><th>{name}<td class=text>{text}<td>{one.relevant}{cells}<td>{one.ms:.1f}</tr>\n"


def _plot(title: str, across: str, up: str, values: Sequence[float], top: float) -> str:
    """A line through values in the order given, from 0 to `top`, over 0 to 100 per cent."""
    top = top or 1.0
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP
    last = max(len(values) - 1, 1)
    points = " ".join(
        f"{LEFT + wide * at / last:.1f},{TOP + high * (1 - value / top):.1f}" for at, value in _thin(values)
    )
    marks = "".join(
        f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * part:.3g}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
        for y in [TOP + high * (1 - part)]
    )
    steps = "".join(
        f'<text x="{LEFT + wide * part:.1f}" y="{HEIGHT - 18}" text-anchor="middle">{part:.0%}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{marks}{steps}<polyline points="{points}"/>'
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="12" y="{TOP + high / 2}" text-anchor="middle" transform="rotate(-90 12 {TOP + high / 2})">'
        f"{escape(up)}</text></svg></figure>"
    )


def _thin(values: Sequence[float], most: int = 500) -> Iterable[tuple[int, float]]:
    """Positions and values, not more than can be told apart, the last among them."""
    step = max(1, len(values) // most)
    kept = list(range(0, len(values), step))
    if values and kept[-1] != len(values) - 1:
        kept.append(len(values) - 1)
    return [(at, values[at]) for at in kept]


def _readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


STYLE = """
:root{color-scheme:light dark;--line:#8884;--ink:#2563eb}
@media(prefers-color-scheme:dark){:root{--ink:#7aa7ff}}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
dl{display:flex;flex-wrap:wrap;gap:1rem}dl div{border:1px solid var(--line);border-radius:.5rem;
padding:.5rem 1rem}
dt{font-size:.8rem;opacity:.75}dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;flex:1 1 22rem}svg{width:100%;height:auto}
svg text{font-size:11px;fill:currentColor;opacity:.8}.grid{stroke:var(--line)}
polyline{fill:none;stroke:var(--ink);stroke-width:2}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600}
th,td{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:right;vertical-align:top}
th{font-weight:600}th:first-child,th:nth-child(2),.text{text-align:left}.text{overflow-wrap:anywhere}
"""
