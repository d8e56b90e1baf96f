"""The curves of a snapshot's indexes, recall against latency, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from findling.evaluate.report import BOTTOM, HEIGHT, RIGHT, STYLE, TOP, WIDTH
from findling.snapshot import FieldManifest, Manifest

LEFT = 56  # room for four digits
_PARTS = (0, 0.25, 0.5, 0.75, 1)


def page(manifest: Manifest) -> str:
    """What was measured of each vector field when the snapshot was built."""
    title = f"{escape(manifest.collection)}: how well its indexes find"
    fields = "".join(_field(name, field, manifest) for name, field in manifest.fields.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>Snapshot {escape(manifest.id)}, {manifest.documents:,} documents, built {escape(manifest.created)}.</p>
{fields or "<p>It has no vector fields.</p>"}
</body></html>
"""


def _field(name: str, field: FieldManifest, manifest: Manifest) -> str:
    told = f"{field.kind}, {field.count:,} vectors of {field.spec.dim} numbers, measured with {field.queries}"
    points = sorted(field.curve, key=lambda point: _ms(point, "p95"))
    rows = "".join(_row(point, point["params"] == field.search) for point in points)
    return f"""<h2>{escape(name)}</h2><p>{escape(told)}.</p>
{_plot(points, field.search, manifest)}
<table><caption>Every setting of the search, fastest first; the chosen one is marked</caption>
<thead><tr><th>search parameters<th>recall@10<th>p50 ms<th>p95 ms<th>queries a second</tr></thead>
<tbody>
{rows}</tbody></table>
"""


def _row(point: Mapping[str, Any], chosen: bool) -> str:
    times = f"<td>{_ms(point, 'p50'):.3f}<td>{_ms(point, 'p95'):.3f}<td>{point['qps']:,.0f}"
    cells = f"<td>{point['recall']:.4f}{times}"
    return f"<tr{' class=chosen' if chosen else ''}><th>{_params(point)}{cells}</tr>\n"


def _plot(points: Sequence[Mapping[str, Any]], search: Mapping[str, Any], manifest: Manifest) -> str:
    """Recall upwards, from a round number under the worst to 1, over milliseconds from 0."""
    least = min([manifest.recall, *(point["recall"] for point in points)])
    floor = max(0.0, int(least * 20 - 1) / 20)
    most = max([0.0, *(_ms(point, "p95") for point in points)])
    limit = manifest.latency_ms
    if limit is not None and limit > 2 * most:  # the points would be squeezed into a corner
        limit = None
    most = max(most, limit or 0.0) * 1.05 or 1.0

    def across(ms: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ms / most

    def up(recall: float) -> float:
        return TOP + (HEIGHT - BOTTOM - TOP) * (1 - recall) / (1 - floor)

    best = _frontier(points)
    line = " ".join(f"{across(_ms(point, 'p95')):.1f},{up(point['recall']):.1f}" for point in best)
    dots = "".join(
        f'<circle{" class=chosen" if point["params"] == search else ""} cx="{across(_ms(point, "p95")):.1f}" '
        f'cy="{up(point["recall"]):.1f}" r="4"><title>{_params(point)}: recall@10 {point["recall"]:.4f}, '
        f"{_ms(point, 'p95'):.3f} ms</title></circle>"
        for point in points
    )
    grid = "".join(
        f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in (floor + (1 - floor) * part for part in _PARTS)
    )
    steps = "".join(
        f'<text x="{across(most * part):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{most * part:.3g}</text>'
        for part in _PARTS
    )
    target = _target(LEFT, up(manifest.recall), WIDTH - RIGHT, up(manifest.recall))
    if limit is not None:
        target += _target(across(limit), TOP, across(limit), HEIGHT - BOTTOM)
    wanted = f"recall@10 {manifest.recall:g}"
    if manifest.latency_ms is not None:
        wanted += f", {manifest.latency_ms:g} ms"
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="recall over latency">'
        f'{grid}{steps}{target}<polyline points="{line}"/>{dots}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">ms, for 95% of the searches</text>'
        f'<text x="12" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 12 {HEIGHT / 2})">'
        f"recall@10</text></svg><figcaption>The line joins what no other setting beats in both. "
        f"Dashed, the targets: {wanted}.</figcaption></figure>"
    )


def _frontier(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The points that no other beats in both, fastest first: what is there to choose from."""
    best: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda p: (_ms(p, "p95"), -p["recall"])):
        if not best or point["recall"] > best[-1]["recall"]:
            best.append(point)
    return best


def _target(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class=target x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _params(point: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} {value}" for name, value in point["params"].items())
    return escape(told or "none")


def _ms(point: Mapping[str, Any], which: str) -> float:
    """A latency of a point; of a snapshot that has none yet, the mean."""
    latency = point.get("latency_ms")
    return float(latency[which] if latency else 1000 / max(point["qps"], 1e-9))


_STYLE = """
figure{max-width:40rem}circle{fill:var(--ink)}circle.chosen{fill:#16a34a;r:6px}
.target{stroke:#16a34a;stroke-dasharray:4 4}tr.chosen{background:#16a34a33}
"""
