"""The page of a quality report: tables by Jinja, figures as inline SVG by matplotlib."""

from __future__ import annotations

import io
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.data.quality import QualityReport, SeriesQuality

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

LISTED = 200
DETAILED = 40
MAPPED = 40
SHOWN = 8
INK, MUTED, ACCENT, REMARK = "#1c2733", "#66727f", "#2563a8", "#c78a2c"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Segoe UI", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif"],
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#d5dbe1",
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
}


def render(report: QualityReport) -> str:
    """The page of a report; see :meth:`QualityReport.to_html`."""
    worst = report.worst(LISTED)
    mapped = _mapped(report)
    return (
        _environment()
        .get_template("quality.html.jinja")
        .render(
            report=report,
            worst=worst,
            detailed=[one for one in worst[:DETAILED] if one.total or one.facts],
            shown=SHOWN,
            kinds=[key for key in report.kinds if key in report.counts],
            affected=_affected(report),
            by_kind=_by_kind(report),
            coverage=_coverage(mapped),
            mapped=mapped,
            span=_span(report),
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tsfm.data"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["moment"] = _moment
    return environment


def _number(value: int) -> str:
    """Digits in groups of three, by a thin space."""
    return f"{value:,}".replace(",", "\u202f")


def _percent(share: float) -> str:
    """Never rounded up to a hundred."""
    if share == 1:
        return "100 %"
    return f"{np.floor(share * 1e4) / 1e2:.2f} %"


def _moment(value: Any, days: bool = False) -> str:
    return "–" if value is None else f"{value:%Y-%m-%d}" if days else f"{value:%Y-%m-%d %H:%M}"


def _span(report: QualityReport) -> tuple[Any, Any]:
    firsts = [one.first for one in report.series if one.first]
    lasts = [one.last for one in report.series if one.last]
    return (min(firsts), max(lasts)) if firsts else (None, None)


def _affected(report: QualityReport) -> Counter[str]:
    """Series that have findings of each kind."""
    return Counter(kind for one in report.series for kind, count in one.counts.items() if count)


def _mapped(report: QualityReport) -> list[SeriesQuality]:
    """Series of the coverage map: all in their order, or the worst where they are too many."""
    covered = [one for one in report.series if len(one.coverage.observed)]
    if len(covered) <= MAPPED:
        return covered
    return [one for one in report.worst(len(report.series)) if len(one.coverage.observed)][:MAPPED]


def _by_kind(report: QualityReport) -> str:
    """A bar for each kind that occurred, on a logarithmic scale."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    counts = dict(sorted(report.counts.items(), key=lambda pair: pair[1]))
    if not counts:
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 0.35 * len(counts) + 0.35))
        axes = figure.add_axes((0.22, 0.02, 0.68, 0.96))
        colours = [ACCENT if report.kinds[kind].repaired else REMARK for kind in counts]
        axes.barh(
            [report.kinds[kind].label for kind in counts],
            list(counts.values()),
            left=0.5,
            height=0.62,
            color=colours,
        )
        axes.set_xscale("log")
        axes.set_xlim(0.5, max(counts.values()) * 2)
        axes.set_ylim(-0.6, len(counts) - 0.4)
        for row, count in enumerate(counts.values()):
            axes.text(count * 1.08 + 0.5, row, _number(count), va="center", color=MUTED)
        axes.spines[:].set_visible(False)
        axes.xaxis.set_visible(False)
        axes.tick_params(length=0)
        return _svg(figure, "kinds")


def _coverage(series: list[SeriesQuality]) -> str:
    """Observed rows by month, a row for each series, as a share of its fullest month."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    if not series:
        return ""
    first = min(one.coverage.first for one in series)
    stop = max(one.coverage.first + len(one.coverage.observed) for one in series)
    grid = np.full((len(series), stop - first), np.nan)
    for row, one in enumerate(series):
        start = one.coverage.first - first
        observed = one.coverage.observed
        grid[row, start : start + len(observed)] = observed / max(observed.max(), 1)
    scale = LinearSegmentedColormap.from_list("coverage", ["#c0392b", "#f3d9a4", "#2f7d6b"])
    colours = scale.with_extremes(bad="#f1f4f6")
    with mpl.rc_context(STYLE):
        height = 0.27 * len(series)
        figure = Figure(figsize=(8.6, height + 0.75))
        bottom = 0.35 / (height + 0.75)
        axes = figure.add_axes((0.16, bottom, 0.80, height / (height + 0.75)))
        image = axes.imshow(
            grid, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest"
        )
        axes.set_yticks(range(len(series)), [_short(one.name) for one in series])
        axes.set_yticks(np.arange(1, len(series)) - 0.5, minor=True)
        axes.grid(which="minor", axis="y", color="white", linewidth=2)
        axes.tick_params(which="both", length=0)
        axes.set_xticks(*_years(first, stop))
        axes.spines[:].set_visible(False)
        room = (height + 0.40) / (height + 0.75)
        bar = figure.colorbar(
            image,
            cax=figure.add_axes(
                (0.76, room + 0.13 / (height + 0.75), 0.20, 0.10 / (height + 0.75))
            ),
            orientation="horizontal",
            ticks=[],
        )
        bar.outline.set_visible(False)
        bar.ax.text(-0.04, 0.5, "0", ha="right", va="center", color=MUTED, fontsize=9)
        bar.ax.text(1.04, 0.5, "full", ha="left", va="center", color=MUTED, fontsize=9)
        return _svg(figure, "coverage")


def _years(first: int, stop: int) -> tuple[list[float], list[str]]:
    """Ticks at Januaries, about a dozen; at months where less than two years are shown."""
    months = np.arange(first, stop)
    januaries = months[months % 12 == 0]
    if len(januaries) < 2:
        chosen = months[:: max(len(months) // 8, 1)]
        labels = [str(np.datetime64(int(month), "M")) for month in chosen]
    else:
        chosen = januaries[:: max(-(-len(januaries) // 14), 1)]
        labels = [str(1970 + month // 12) for month in chosen]
    return [float(month - first) for month in chosen], labels


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:8]}…{name[-9:]}"


def _svg(figure: Figure, salt: str) -> str:
    """The figure as an element of a page, as wide as its column, its ids its own."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    FigureCanvasSVG(figure)
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    element = text.getvalue()
    element = element[element.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'id="([^"]+)"', rf'id="{salt}-\1"', element)
    element = re.sub(r'href="#([^"]+)"', rf'href="#{salt}-\1"', element)
    element = re.sub(r"url\(#([^)]+)\)", rf"url(#{salt}-\1)", element)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', element, count=1)
