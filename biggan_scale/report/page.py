"""The report: one HTML page without scripts and without anything to load. Every text of the run is escaped.

From the top, in the order a reader asks: how is it doing, is it healthy, what does it draw, how did it get there, what can be
resumed, what was it told to do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from biggan_scale import __version__
from biggan_scale.report import chart, pictures
from biggan_scale.report.facts import Attempt, Checkpoint, Facts
from biggan_scale.report.series import Series

NEWEST_PX, EARLIER_PX = 560, 260  # how wide sheets are shown, the newest at least, the earlier ones
SIGMA = "health/sigma/"
FOLDED_FROM = 8  # lines in a chart: the table under it is folded

# No script, nothing loaded, whatever a run may have been called.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d1d1f; max-width: 1480px; margin: 0 auto; padding: 20px 28px 60px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 19px; margin: 34px 0 10px; }
h3 { font-size: 14px; margin: 0 0 4px; overflow-wrap: anywhere; }
.state { display: inline-block; padding: 1px 10px; border-radius: 10px; color: #fff; background: #56606b; }
.running { background: #0072b2; } .complete { background: #00795a; } .failed { background: #b3261e; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 14px 0; }
.facts dt { color: #56606b; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.alarm { border-left: 5px solid #b3261e; background: #fdecea; padding: 8px 14px; margin: 8px 0; }
.suspected { border-color: #e69f00; background: #fff6e0; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(410px, 1fr)); gap: 22px 26px; }
.chart table { font-size: 12px; } .swatch { display: inline-block; width: 14px; height: 4px; vertical-align: middle; margin-right: 6px; }
svg { width: 100%; height: auto; background: #fafafa; } svg text { font: 11px system-ui, sans-serif; fill: #56606b; }
svg .x { text-anchor: middle; } svg .y, svg .unit { text-anchor: end; } svg .grid { stroke: #e2e2e6; }
svg .restart { stroke: #8a8f98; stroke-dasharray: 3 3; } svg .bad { stroke: #b3261e; stroke-width: 2; }
svg polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 2px 14px 2px 0; vertical-align: top; }
th { color: #56606b; font-weight: normal; } .numbers th + th, .numbers td + td { text-align: right; }
.sheets { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; } figure { margin: 0; max-width: 100%; }
figure img { max-width: 100%; image-rendering: pixelated; display: block; } figcaption, .note { color: #56606b; font-size: 13px; }
pre { background: #fafafa; padding: 12px; overflow-x: auto; font-size: 12.5px; } summary { cursor: pointer; }
"""


def page(facts: Facts) -> str:
    """The whole of report.html."""
    status = facts.status
    body = [
        f"<h1>{escape(status['run_dir'])}</h1>",
        *_head(facts),
        "<h2>Health</h2>",
        *_health(facts),
        "<h2>Samples</h2>",
        *_sheets(facts.sheets),
        "<h2>Curves</h2>",
        *_curves(facts),
        "<h2>Checkpoints</h2>",
        *_checkpoints(facts.checkpoints),
        "<h2>Attempts</h2>",
        *_attempts(facts.attempts, str(status["state"])),
        *_stacks(facts.stacks),
        "<h2>Configuration</h2>",
        f"<pre>{escape(facts.config)}</pre>" if facts.config else _note("config.yaml has not been written yet."),
        "<h2>Log</h2>",
        f"<details><summary>the last {len(facts.log)} lines of log.txt</summary><pre>{escape(chr(10).join(facts.log))}</pre></details>",
    ]
    title = f"{Path(status['run_dir']).name}: {status['state']} at {_clock(status['nimg'])}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _head(facts: Facts) -> Iterator[str]:
    status, identity, newest = facts.status, facts.identity, facts.status["checkpoint"]
    again = " Run the same command again to go on." if status["requeue"] else ""
    state = escape(str(status["state"]))
    yield f'<p><span class="state {state}">{state}</span> {escape(status["reason"])}{again}</p>'
    yield f"<p>{escape(facts.summary)}</p>" if facts.summary else ""
    speed = status["img_per_s"]
    yield _facts(
        {
            "images seen": f"{status['nimg']:,}",
            "speed": "unknown" if speed is None else f"{speed:,.1f} img/s",
            "newest checkpoint": "none" if newest is None else f"{Path(newest['path']).name}",
            "restarts": status["restarts"],
            "begun": identity.get("began", "unknown"),
            "trained with": f"biggan_scale {identity.get('version', 'unknown')}",
            "data fingerprint": identity.get("data_fingerprint", "unknown"),
            "this report": f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}, biggan_scale {__version__}",
        }
    )


def _health(facts: Facts) -> Iterator[str]:
    health = facts.health
    if health is None:
        yield _note(f"Nothing has been measured yet ({facts.status['health']}).")
        return
    alarms = facts.status.get("alarms", [])
    yield from map(_alarm, alarms)
    if not alarms:
        yield f"<p>{escape(facts.status['health'])}</p>"
    rows = [[escape(name), _number(value)] for name, value in health.get("values", {}).items()]
    yield _details(f"as measured at {_clock(health['nimg'])}", _table(("", "value"), rows, "numbers"))


def _alarm(alarm: Mapping[str, Any]) -> str:
    kind, word = ("alarm", "") if alarm["confirmed"] else ("alarm suspected", " (suspected)")
    says = f"{escape(alarm['means'])}.<br>{escape(alarm['advice'])}."
    return f'<div class="{kind}"><b>{escape(alarm["name"])}</b>{word}, since {_clock(alarm["since_nimg"])}: {says}</div>'


def _sheets(sheets: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    if not sheets:
        yield _note("No sheet has been drawn yet.")
    for kind, files in sheets.items():
        found = [(file, pictures.embed(file)) for file in pictures.newest_and_earlier(files)]
        yield f"<h3>{escape(kind)}</h3>" if len(sheets) > 1 else ""
        missing = [file.name for file, picture in found if picture is None]
        if missing:
            yield _note(f"not whole, perhaps being written: {', '.join(missing)}")
        whole = [picture for _, picture in found if picture is not None]
        widths = [EARLIER_PX] * (len(whole) - 1) + [max(picture.width, NEWEST_PX) for picture in whole[-1:]]
        yield f'<div class="sheets">{"".join(map(_figure, reversed(whole), reversed(widths)))}</div>'


def _figure(picture: pictures.Picture, width: int) -> str:
    reduced = ", made smaller for this page" if picture.reduced else ""
    return (
        f'<figure><img src="{picture.url}" width="{width}" alt="{escape(picture.name, quote=True)}">'
        f"<figcaption>{escape(picture.name)}{reduced}</figcaption></figure>"
    )


def _curves(facts: Facts) -> Iterator[str]:
    if not facts.lines:
        yield _note("No record has been written yet.")
        return
    restarts = sorted({attempt.start["nimg"] for attempt in facts.attempts if attempt.start.get("nimg")})
    marks = " Dashes: the run was started anew." if restarts else ""
    yield _note(f"Lines are means of neighbouring records, bands their extremes.{marks} Red: not finite.")
    charts = grouped(facts.lines)
    yield f'<div class="charts">{"".join(_chart(title, lines, restarts) for title, lines in charts.items())}</div>'


def grouped(lines: Mapping[str, Series]) -> dict[str, list[Series]]:
    """Which lines share a chart, by its title: a number of several players; one of real and of generated images; the singular
    values. The losses come first."""
    players_of: dict[str, set[str]] = {}
    for name in lines:
        player, _, what = name.partition("/")
        players_of.setdefault(what, set()).add(player)
    charts: dict[str, list[Series]] = {}
    for name, line in lines.items():
        owner, _, what = name.partition("/")
        if name.startswith(SIGMA):
            title = "largest singular value of each layer"
        elif len(players_of[what]) > 1 and what and "health" not in players_of[what]:
            title = what
        else:
            stem = re.sub(r"_?(real|fake|held_out)$", "", what)
            title = name if stem == what else f"{owner}/{stem or 'real and fake'}"
        charts.setdefault(title, []).append(line)
    return dict(sorted(charts.items(), key=lambda item: item[0] != "loss"))


def _chart(title: str, lines: Sequence[Series], restarts: Sequence[int]) -> str:
    rows = [
        [
            f'<span class="swatch" style="background:{chart.color(index)}"></span>{escape(line.name.removeprefix(SIGMA))}',
            _number(line.last),
            *((_number(line.low), _number(line.high)) if line.low <= line.high else ("", "")),
            f"{line.not_finite:,} not finite" if line.not_finite else "",
        ]
        for index, line in enumerate(lines)
    ]
    table = _table(("", "last", "least", "most", ""), rows, "numbers")
    legend = table if len(lines) < FOLDED_FROM else _details(f"{len(lines)} lines", table)
    return f'<div class="chart"><h3>{escape(title)}</h3>{chart.svg(lines, restarts)}{legend}</div>'


def _checkpoints(found: Sequence[Checkpoint]) -> Iterator[str]:
    if not found:
        yield _note("None has been written yet.")
        return
    rows = []
    for one in found:
        manifest = one.manifest
        health = "" if one.problem else "healthy" if manifest.get("healthy", True) else "not healthy"
        crossed = (manifest.get("health") or {}).get("crossed") or []
        verdict = one.problem or health + (f": {', '.join(crossed)}" if crossed else "")
        digest = f"<code>{escape(str(manifest.get('state_sha256', ''))[:16])}</code>"
        size = f"{one.bytes / 1e6:,.1f} MB" if manifest else ""
        rows.append([escape(one.name), escape(str(manifest.get("time", ""))), size, escape(verdict), digest])
    yield _table(("", "saved", "size", "", "state_sha256, its beginning"), rows)
    yield _note("Every byte of them was read for this report; those set aside were not looked at.")


def _attempts(attempts: Sequence[Attempt], state: str) -> Iterator[str]:
    if not attempts:
        yield _note("None is recorded.")
        return
    rows = []
    for number, attempt in enumerate(attempts, 1):
        start, end = attempt.start, attempt.end
        runs_still = end is None and number == len(attempts) and state == "running"
        outcome = ["running" if runs_still else "died without a word", "", ""]
        if end is not None:
            outcome = [f"{end.get('state', '?')} ({end.get('exit_code', '?')})", _clock(end.get("nimg")), str(end.get("reason", ""))]
        cells = [str(start.get("time", "?")), _clock(start.get("nimg")), str(start.get("world", "?")), *outcome]
        rows.append([str(number), *map(escape, cells)])
    yield _table(("", "started", "from", "ranks", "ended (exit code)", "at", "reason"), rows)


def _stacks(files: Sequence[str]) -> Iterator[str]:
    if files:
        yield _note(f"The run has hung; where each rank stood is in stacks/: {', '.join(files)}")


# pieces


def _facts(facts: Mapping[str, object]) -> str:
    return (
        '<dl class="facts">' + "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items()) + "</dl>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """`rows` are HTML already."""
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="{kind}"><tr>{"".join(f"<th>{escape(word)}</th>" for word in head)}</tr>{cells}</table>'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.5g}"


def _clock(nimg: object) -> str:
    """A moment of the clock, for people."""
    return f"{nimg / 1000:,.3f} kimg" if isinstance(nimg, int) else "?"
