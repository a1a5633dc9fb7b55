"""The page as one text. Nothing in it comes from elsewhere; the same data give the same bytes."""

from collections.abc import Sequence
from importlib import resources

from kernelsift.report.page import sections
from kernelsift.report.page.fill import page_data
from kernelsift.report.page.markup import Html, el, joined
from kernelsift.report.page.model import PageData, RunFacts
from kernelsift.report.schema import Analysis
from kernelsift.report.stats import Scored

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""What a browser lets the page do: show itself, and fetch nothing."""
CONTENTS = (
    ("read", "Read first"),
    ("funnel", "Rows"),
    ("distributions", "Distributions"),
    ("correlations", "Correlations"),
    ("heatmap", "Difficulty by style"),
    ("scatter", "Reward"),
    ("reliability", "Reliability"),
    ("cost", "Cost"),
    ("disagreements", "Disagreements"),
)


def report_page(analysis: Analysis, rows: Sequence[Scored], run: RunFacts) -> str:
    """Return report.html of an analysis, the rows it is about, and what is known of the run.

    Raises DataError for values that `stats.ordered` refuses.
    """
    return render(page_data(analysis, rows, run))


def render(page: PageData) -> str:
    """Return the page."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{page.title} · kernelsift report"),
        el("style", _own("style.css")),
    )
    end = el(
        "footer",
        "Made by kernelsift from analysis.json and the run's database. Numbers are those of "
        "analysis.json. The page holds all that it shows and fetches nothing.",
    )
    body = el(
        "body",
        el("a", "Skip to the numbers", href="#read", class_="skip"),
        sections.header(page),
        sections.contents(CONTENTS),
        el("main", sections.body(page)),
        end,
        el("div", id="tip", role="status", aria_live="polite", hidden=""),
        el("script", _own("script.js")),
    )
    return joined(Html("<!doctype html>\n"), el("html", head, body, lang="en"), "\n")


def _own(name: str) -> Html:
    """A file of this package, as it stands."""
    return Html(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
