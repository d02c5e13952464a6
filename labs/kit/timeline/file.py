"""Write the picture of runs to a file: SVG, PNG, or a page of its own."""

import contextlib
import html
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from kit.cli import Trouble
from kit.timeline import scene as scene
from kit.timeline.figures import bound_in_words, in_seconds
from kit.timeline.lines import plain
from kit.timeline.run import Run

ENDINGS = (".svg", ".png", ".html")
SETTINGS = {
    "svg.fonttype": "none",  # texts stay texts, to be searched and copied
    "svg.hashsalt": "timeline",  # the same journal gives the same file
    "text.parse_math": False,  # a message may have dollars in it
    "font.size": 9,
    "hatch.linewidth": 0.6,
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 72em; margin: 1em auto; padding: 0 1em; color: #222 }}
svg {{ max-width: 100%; height: auto }}
table {{ border-collapse: collapse }}
th, td {{ border: 1px solid #999; padding: 0.3em 0.7em; text-align: right }}
th:first-child, td:first-child {{ text-align: left }}
</style>
</head>
<body>
<h1>{title}</h1>
{svg}
<h2>Figures</h2>
{table}
{rest}
</body>
</html>
"""


def write_picture(runs: Sequence[Run], path: Path) -> None:
    """Draw runs into a file whose ending is one of ENDINGS. Raises Trouble."""
    if not importlib.util.find_spec("matplotlib"):
        hint = "pip install matplotlib      (or leave out -o: drawn in the terminal)"
        raise Trouble("a picture in a file needs matplotlib", hint, code=1)
    kind = path.suffix.lower()
    with own_settings():
        data = draw(runs, "png" if kind == ".png" else "svg")
    if kind == ".html":
        data = page(runs, data.decode()).encode()
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise Trouble(f"cannot write {plain(str(path))}: {why}", code=1) from error


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw with our settings, not with those of a matplotlibrc, and without talk about fonts."""
    import matplotlib

    log = logging.getLogger("matplotlib")
    level = log.level
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        try:
            yield
        finally:
            log.setLevel(level)


def draw(runs: Sequence[Run], kind: str) -> bytes:
    """Return the picture as the bytes of an "svg" or "png" file."""
    from kit.timeline.draw import Picture

    picture, buffer = Picture(runs), io.BytesIO()
    if kind == "png":
        picture.figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
        return buffer.getvalue()
    picture.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return with_titles(buffer.getvalue().decode(), picture.told, headline(runs)).encode()


def with_titles(svg: str, told: dict[str, str], title: str) -> str:
    """Return an SVG that tells of each bar when one points at it."""
    pieces = svg.split('<g id="bar-')
    for number, piece in enumerate(pieces[1:], start=1):
        name, rest = piece.split('">', 1)
        text = html.escape(told.get(f"bar-{name}", ""))
        pieces[number] = f'{name}"><title>{text}</title>{rest}'
    head, body = '<g id="bar-'.join(pieces).split("<metadata>", 1)
    return f"{head}<title>{html.escape(title)}</title>\n <metadata>{body}"


def headline(runs: Sequence[Run]) -> str:
    """Return a title for the whole picture."""
    return "Who worked on what, when: " + " and ".join(run.name for run in runs)


def page(runs: Sequence[Run], svg: str) -> str:
    """Return a page that needs nothing else: the picture, the figures, what went wrong."""
    many = len(runs) > 1
    texts = [(f"{run.name}: " * many, bound_in_words(run.figures)) for run in runs]
    rest = [scene.compare(runs)] if many else []
    rest += [name + text[0].upper() + text[1:] for name, text in texts if text]
    parts = [f"<p>{html.escape(text)}.</p>" for text in rest if text]
    for run in runs:
        if lines := scene.tell_mishaps(run):
            items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
            parts.append(f"<h2>What came to nothing: {html.escape(run.name)}</h2>")
            parts.append(f"<ul>\n{items}\n</ul>")
    return PAGE.format(
        title=html.escape(headline(runs)),
        svg=svg[svg.index("<svg") :],
        table=table(runs),
        rest="\n".join(parts),
    )


def table(runs: Sequence[Run]) -> str:
    """Return the figures as an HTML table."""
    counts = "workers", "tasks", "worked", "lost", "returned", "failed", "left", "redelivered"
    titles = "run", *counts, "duplicates", "finishing time", "shortest possible"
    rows = ["".join(f"<th>{title}</th>" for title in titles)]
    for run in runs:
        f = run.figures
        cells = [run.name, *(getattr(f, name) for name in counts), f.duplicates]
        cells += ["" if time is None else in_seconds(time) for time in (f.finish, f.bound)]
        rows.append("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells))
    return "<table>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>"
