"""report.html: what stands on the page, that nothing in it can act, and how a browser shows it."""

import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from unittest import mock

import pytest
from browser import browsing, executable
from build import Counted, opened, rollout, write_jsonl
from fake_openai import KEY, FakeOpenAI, ok, reset
from test_reliability import modules, noisy, verdict
from test_report_analysis import an_analysis
from test_report_stats import some_rows

from kernelsift import pipeline, trusting
from kernelsift.credentials import Secrets
from kernelsift.report.analysis import Analysis, JudgedBy
from kernelsift.report.card_facts import FunnelStep
from kernelsift.report.page.charts import histogram
from kernelsift.report.page.fill import POINTS, nice_ticks, page_data
from kernelsift.report.page.markup import el, prose, short, visible
from kernelsift.report.page.model import Cost, CostRow, Lost, RunFacts, Trust
from kernelsift.report.page.render import POLICY, render, report_page
from kernelsift.report.page.sections import cost as cost_section
from kernelsift.report.stats import Scored, signed
from kernelsift.reporting import FILE, write_report
from kernelsift.trusting import Asked

HOSTILE = "</script><img src=x onerror=\"hacked=1\"><svg onload='hacked=1'>&amp;\u202e"
STEPS = (FunnelStep("filter", "dropped: low-reward", 20), FunnelStep("kept", "", 50))
FACTS = RunFacts("a run", (), STEPS, Trust((), (), "nothing"), Cost(), ())


def a_page(rows, facts=FACTS, **changes):
    return report_page(an_analysis(rows, **changes), rows, facts)


class Seen(HTMLParser):
    """The elements of a page, its text, and what its tables hold."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.rows, self.cell = [], "", [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td"}:
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in {"th", "td"}

    def handle_data(self, data):
        self.text += data
        if self.cell:
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def of_class(self, name):
        return [a for _, a in self.tags if name in (a.get("class") or "").split()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 24 rows, one of them hostile, that a judge with noise has judged three times."""
    folder = tmp_path_factory.mktemp("report")
    rows = [row | {"reward": 0.9 + 0.11 * i} for i, row in enumerate(modules(12))]
    rows[3]["info"]["module_name"] = HOSTILE
    text = rows[3]["completion"][0]["content"].replace("# one block", f"# {HOSTILE}\n    #")
    rows[3]["completion"][0]["content"] = text
    rows.append(rollout("Slow", reward=0.1))
    source = write_jsonl(folder / "rows.jsonl", rows)
    chat = Counted(noisy(), usd=0.25)
    with (
        opened(folder / "run", source, chat, judge__model="m", judge__samples=3) as session,
        mock.patch("kernelsift.report.plots.render", return_value=b""),
    ):
        pipeline.load(session)
        pipeline.filter_rows(session)
        pipeline.judge(session)
        tally = pipeline.analyze(session)
        yield session, tally


@pytest.fixture(scope="module")
def page(run):
    return (run[0].run.path / FILE).read_text(encoding="utf-8")


# ---- what is written ----------------------------------------------------------------------------


def test_analyze_writes_the_page_beside_its_other_files_and_says_so(run):
    session, tally = run
    assert FILE in tally.files
    assert (session.run.path / FILE).is_file()


def test_the_same_run_gives_the_same_bytes(run, page):
    assert write_report(run[0]).read_text(encoding="utf-8") == page


def test_the_order_of_the_rows_changes_no_byte():
    rows = some_rows(80)
    mixed = random.Random(1).sample(rows, len(rows))
    assert a_page(mixed) == a_page(rows)


def test_every_correlation_of_the_analysis_is_quoted_with_its_interval_and_n(run, page):
    text = (run[0].run.path / "analysis.json").read_text(encoding="utf-8")
    analysis = Analysis.model_validate_json(text)
    seen = Seen(page).text
    given = analysis.partials.given
    partial = [one for one in analysis.partials.correlations if one.given == given]
    assert partial
    for found in (*analysis.correlations, *partial):
        wide = found.widest
        quoted = f"{signed(found.r)} [{signed(wide.low)} to {signed(wide.high)}] n = {found.n:,}"
        assert quoted in seen
    assert len(analysis.correlations) + len(partial) == len(Seen(page).of_class("dot"))


def test_correlations_of_all_rows_stand_beside_those_of_the_kept_ones(tmp_path):
    rows = [rollout(f"M{n}", reward=n % 3, tag=n) for n in range(30)]
    settings = {"judge.judge": "static", "judge.also_rejected": "all"}
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    with opened(tmp_path / "run", source, **settings) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        pipeline.judge(session)
        pipeline.analyze(session)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    text = Seen(page).text
    assert "Pearson, all rows" in text
    assert "with 10 rows that the filter dropped" in text


def test_the_cautions_of_the_analysis_and_of_the_reliability_stand_first(run, page):
    text = Seen(page).text
    json_text = (run[0].run.path / "analysis.json").read_text(encoding="utf-8")
    first = text[text.index("Read this first") : text.index("Where the rows went")]
    for caution in json.loads(json_text)["cautions"]:
        assert caution["text"] in first
    assert "No human labels" in first


def test_the_funnel_accounts_for_every_row(page):
    rows = Seen(page).rows
    assert ["filter", "dropped: low-reward", "1", "4.0 %"] in rows
    assert ["kept", "in the set", "24", "96.0 %"] in rows


def test_the_page_says_when_each_stage_ran_and_what_the_source_is(run, page):
    at = str(run[0].run.stages()["judge"]["at"])[:16].replace("T", " ")
    assert f"judge {at}" in page
    assert "<h1>rows.jsonl</h1>" in page


# ---- what a page must not do --------------------------------------------------------------------


def test_text_of_the_rows_is_never_markup(page):
    seen = Seen(page)
    assert seen.all("img") == []
    assert len(seen.all("script")) == 1
    assert [key for _, a in seen.tags for key in a if key.startswith("on")] == []
    assert '<img src=x onerror="hacked=1">' in seen.text
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page


def test_the_page_asks_for_nothing_and_its_policy_forbids_it(page):
    seen = Seen(page)
    assert [a for _, a in seen.tags if "src" in a] == []
    assert [a["href"] for _, a in seen.tags if "href" in a and a["href"][0] != "#"] == []
    assert {"link", "iframe", "object", "base"} & {name for name, _ in seen.tags} == set()
    assert POLICY in [a.get("content") for a in seen.all("meta")]
    assert "url(" not in page
    assert "default-src 'none'" in POLICY


def test_control_characters_are_spelled_out_and_lines_stay_lines():
    assert visible("a\x00b\u202ec\ud800\n\td") == "a⟨U+0000⟩b⟨U+202E⟩c⟨U+D800⟩\n\td"


def test_values_of_attributes_cannot_end_them():
    assert el("a", href='x" onclick="y') == '<a href="x&quot; onclick=&quot;y"></a>'


def test_backticks_in_a_sentence_are_code():
    assert prose("run `a <b>` now") == "run <code>a &lt;b&gt;</code> now"


# ---- sizes and edges ----------------------------------------------------------------------------


def test_the_page_of_18162_rows_is_small_and_says_which_points_it_shows():
    rows = some_rows(18_162, outliers=True)
    page = a_page(rows, resamples=20)
    assert len(page.encode()) < 2_000_000
    scatter = page[page.index('<g class="dots') : page.index('<g class="layer-style')]
    assert scatter.count("<circle") == POINTS == 2000
    assert "n = 18,162 rows" in page
    assert "Points: 2,000 of the others" in page
    assert "Outside the reward axis and not drawn:" in page


def test_which_points_are_shown_does_not_depend_on_other_rows_listed():
    rows = some_rows(POINTS + 500)
    analysis = an_analysis(rows, resamples=20)
    ids = {p.id for p in page_data(analysis, rows, FACTS).scatter.points}
    again = {p.id for p in page_data(analysis, rows[::-1], FACTS).scatter.points}
    assert ids == again


def test_three_rows_say_why_there_is_no_correlation():
    page = a_page(some_rows(3), missing={})
    assert Seen(page).text.count("at least 4 are needed") >= 6
    assert Seen(page).of_class("dot") == []


def test_equal_scores_say_why_there_is_no_correlation_and_draw_one_bar():
    rows = [replace(row, style=5.0, difficulty=5.0, reward=1.0) for row in some_rows(40)]
    page = a_page(rows)
    assert "all 40 rows have the same style (5)" in Seen(page).text
    bars = [a for a in Seen(page).of_class("bar") if a["height"] != "18"]
    assert len(bars) == 3


def test_a_page_without_any_verdict_has_all_sections_and_no_number():
    page = a_page([])
    assert "Judged" in page
    assert "No row has scores." in page
    assert "nan" not in Seen(page).text.lower()


def test_rewards_of_any_size_make_a_finite_page():
    huge = [1e300, -1e300, 1e-300, 0.0, 5e-324]
    rows = [replace(row, reward=huge[i % 5]) for i, row in enumerate(some_rows(40))]
    page = a_page(rows, resamples=20)
    assert not re.search(r"\b(nan|inf)\b", page.lower())


def test_a_histogram_shows_the_rows_of_each_level():
    rows = some_rows(500)
    analysis = an_analysis(rows, resamples=20)
    drawn = histogram(page_data(analysis, rows, FACTS).histograms[1])
    for level, count in enumerate(analysis.style.histogram):
        if count:
            assert f"<title>Style level {level}\n{count:,} row" in drawn


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [(0, 10, ["0", "2", "4", "6", "8", "10"]), (0.83, 1.21, ["0.9", "1.0", "1.1", "1.2"]),
     (-1.2, 1.2, ["−1.0", "−0.5", "0.0", "0.5", "1.0"])],
)  # fmt: skip
def test_ticks_are_round_and_labelled_with_what_tells_them_apart(low, high, labels):
    assert [label for _, label in nice_ticks(low, high)] == labels


@pytest.mark.parametrize(
    ("count", "words"), [(7, "7"), (999, "999"), (1234, "1.2k"), (18_162, "18k"), (2e6, "2.0M")]
)
def test_large_counts_are_short(count, words):
    assert short(int(count)) == words


# ---- reliability, cost, disagreements -----------------------------------------------------------


def test_reliability_is_computed_where_no_report_of_it_was_written(page):
    text = Seen(page).text
    assert "nobody was asked anything" in text
    assert "difficulty, judged again: m" in text
    assert "ICC(A,1)" in text


def test_a_reliability_report_is_shown_while_it_is_of_these_judgements(tmp_path):
    source = write_jsonl(tmp_path / "rows.jsonl", modules(3))
    with (
        opened(tmp_path / "run", source, judge__judge="static") as session,
        mock.patch("kernelsift.report.plots.render", return_value=b""),
    ):
        for stage in (pipeline.load, pipeline.filter_rows, pipeline.judge):
            stage(session)
        trusting.reliability(session, Asked())
        pipeline.analyze(session)
        fresh = (session.run.path / FILE).read_text(encoding="utf-8")
        file = session.run.path / trusting.FILE
        file.write_text(file.read_text(encoding="utf-8").replace('"static-2"', '"static-1"'))
        stale = write_report(session).read_text(encoding="utf-8")
    assert "From reliability.json" in fresh
    assert "is of an earlier state of the run and is not shown" in stale
    assert "against the static judge" not in fresh
    assert "it has cost nothing" in fresh


def test_an_unknown_price_is_not_nothing():
    found = Cost((CostRow("judge", "m", 9, 100, 10, 0.0, 9),), (Lost("judge", 2, 0.0, 0.5, 1),))
    text = Seen(cost_section(found)).text
    assert "$0.0000 + 9 requests of unknown price" in text
    assert "up to $0.5000 more at risk; the price of 10 requests is not known." in text


def test_cost_is_what_was_billed_and_what_may_have_been(tmp_path):
    answers = [ok(verdict(3, 4), cost=0.25), reset()]
    source = write_jsonl(tmp_path / "rows.jsonl", modules(2, each=1))
    with FakeOpenAI(answers) as server:
        dotted = {
            "llm__base_url": server.base_url, "llm__tries": 1, "llm__concurrency": 1,
            "llm__price": {"m": {"input": 100, "output": 100}}, "judge__model": "m",
        }  # fmt: skip
        with (
            opened(tmp_path / "run", source, **dotted) as session,
            mock.patch("kernelsift.report.plots.render", return_value=b""),
        ):
            for stage in (pipeline.load, pipeline.filter_rows, pipeline.judge, pipeline.analyze):
                stage(replace(session, secrets=Secrets({"OPENAI_API_KEY": KEY})))
            usd, risk, requests = session.run.spent()
            seen = Seen((session.run.path / FILE).read_text(encoding="utf-8"))
    assert (usd, requests) == (0.25, 2)
    assert risk > 0
    words = f"2 requests, $0.2500 known to be billed, up to ${risk:.4f} more at risk."
    assert words in seen.text
    assert ["judge", "m", "1", "100", "10", "$0.2500"] in seen.rows
    assert "1 of 2 rows" in seen.text


def test_a_run_in_which_every_row_failed_says_what_failed(tmp_path):
    source = write_jsonl(tmp_path / "rows.jsonl", modules(2, each=1))
    with (
        opened(tmp_path / "run", source, Counted("I cannot say."), judge__model="m") as session,
        mock.patch("kernelsift.report.plots.render", return_value=b""),
    ):
        for stage in (pipeline.load, pipeline.filter_rows, pipeline.judge, pipeline.analyze):
            stage(session)
        seen = Seen((session.run.path / FILE).read_text(encoding="utf-8"))
    assert ["judge", "failed: no-verdict", "2", "100.0 %"] in seen.rows
    assert "No row has scores." in seen.text


def test_answers_that_differ_most_come_first_with_their_code(tmp_path):
    def answer(ask):
        torn = "Module4New" in ask.messages[-1].content
        return verdict(5, 1 + 4 * (ask.sample // 1000) if torn else 5)

    source = write_jsonl(tmp_path / "rows.jsonl", modules(6))
    dotted = {"judge__model": "m", "judge__samples": 3}
    with (
        opened(tmp_path / "run", source, Counted(answer), **dotted) as session,
        mock.patch("kernelsift.report.plots.render", return_value=b""),
    ):
        for stage in (pipeline.load, pipeline.filter_rows, pipeline.judge, pipeline.analyze):
            stage(session)
        text = Seen((session.run.path / FILE).read_text(encoding="utf-8")).text
    own = text[text.index("Answers furthest apart") : text.index("against the static judge")]
    assert own.count("style 1 to 9 in 3 answers") == 1  # a module is named once
    assert "def scale_Module4(source" in own
    assert "Module3" not in own
    assert "m, answer 3" in own


def test_a_judge_that_is_no_program_is_held_against_the_static_judge(page):
    text = Seen(page).text
    assert "The judge against the static judge" in text
    assert "static judge (static-2)" in text


def test_other_answers_of_the_model_are_named():
    judge = JudgedBy(judge="m", prompt_version="v", returned_models=("m-2026",))
    assert "m-2026" in Seen(a_page(some_rows(5), judge=judge)).text


# ---- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = executable()
    if program is None:
        pytest.skip("no Chromium on this machine; the Debian package is `chromium`")
    with browsing(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def shown(browser, run):
    """The page in a window of 1440 pixels."""
    browser.point_away()
    browser.open(run[0].run.path / FILE, 1440)
    return browser


DRAWN = """
[...document.querySelectorAll("svg.chart")].map(chart => {
  const box = chart.getBoundingClientRect();
  const marks = [...chart.querySelectorAll(".mark")].map(m => m.getBoundingClientRect());
  const seen = marks.filter(m => m.width > 0 && m.height > 0);
  return [chart.getAttribute("class"), box.width, box.height, marks.length, seen.length];
})
"""
FITS = "[document.scrollingElement.scrollWidth, innerWidth]"
TIP = "document.getElementById('tip').hidden ? null : document.getElementById('tip').textContent"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_shows_the_page_without_a_complaint(browser, run, width, dark):
    path = run[0].run.path / FILE
    browser.open(path, width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.value("typeof hacked") == "undefined"
    wide, window = browser.value(FITS)
    assert wide <= window == width
    charts = browser.value(DRAWN)
    kinds = {"histogram", "funnel", "forest-line", "heatmap", "scatter"}
    assert kinds <= {name.split()[-1] for name, *_ in charts}
    for name, broad, high, marks, seen in charts:
        assert broad > 100
        assert high > 10
        assert seen > 0 or (marks == 0 and "axis" in name), name
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 27)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize(
    ("mark", "words"),
    [(".histogram .mark", "Difficulty level"), (".funnel .mark", "rows went on"),
     (".forest-line .mark", "95 % CI"), (".heatmap .layer-count .mark", "mean reward"),
     (".scatter .dots .mark", "reward")],
)  # fmt: skip
def test_pointing_at_a_mark_says_what_it_is(shown, mark, words):
    assert shown.value(TIP) is None
    shown.point_at(mark)
    assert words in shown.value(TIP)
    shown.point_away()
    assert shown.value(TIP) is None


def test_the_heatmap_shows_rows_or_mean_reward(shown):
    sees = "['count', 'mean'].map(n => document.querySelector(`.heatmap .layer-${n}`)" \
        ".getClientRects().length > 0)"  # fmt: skip
    assert shown.value(sees) == [True, False]
    shown.click("label[for=heat-mean]")
    assert shown.value(sees) == [False, True]


def test_the_scatter_moves_its_points_to_the_other_score(shown):
    places = (
        "[...document.querySelectorAll('.dots circle')].map(c => c.getBoundingClientRect().left)"
    )
    before = shown.value(places)
    shown.click("label[for=across-difficulty]")
    after = shown.value(places)
    assert len(before) == len(after) == 24
    assert sum(a != b for a, b in zip(before, after, strict=True)) > 12


def test_a_ringed_point_leads_to_its_code(shown):
    shown.value(
        "[...document.querySelectorAll('.listed')].find(c => {"
        "c.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const b = c.getBoundingClientRect();"
        "return document.elementFromPoint(b.left + b.width / 2, b.top + b.height / 2) === c;"
        "}).id = 'chosen'"
    )
    row = shown.value("document.getElementById('chosen').dataset.row")
    shown.click("#chosen")
    opened_row = "document.activeElement.parentElement"
    assert shown.value(f"[{opened_row}.id, {opened_row}.open]") == [row, True]
    assert "def scale_" in shown.value(f"{opened_row}.querySelector('pre.code').textContent")


def test_arrow_keys_step_through_the_marks_and_enter_opens_the_row(shown):
    shown.point_away()
    shown.value("document.querySelector('.scatter').focus()")
    shown.press("ArrowRight")
    first = shown.value(TIP)
    shown.press("ArrowRight")
    assert {None} & {first, shown.value(TIP)} == set()
    assert shown.value(TIP) != first
    on_listed = "document.querySelector('.scatter .on').classList.contains('listed')"
    for _ in range(40):
        if shown.value(on_listed):
            break
        shown.press("ArrowRight")
    row = shown.value("document.querySelector('.scatter .on').dataset.row")
    shown.press("Enter")
    assert shown.value(f"document.getElementById({json.dumps(row)}).open") is True


def test_escape_takes_away_what_is_said_of_a_mark(shown):
    shown.point_away()
    shown.value("document.querySelector('.heatmap').focus()")
    shown.press("End")
    assert "Difficulty" in shown.value(TIP)
    shown.press("Escape")
    assert shown.value(TIP) is None


def test_what_is_hidden_without_a_script_is_only_the_tip(browser, run):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(run[0].run.path / FILE, 390)
        wide, window = browser.value(FITS)
        titles = browser.value("document.querySelectorAll('.scatter .mark title').length")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert wide <= window
    assert titles > 24


def test_a_page_without_numbers_and_one_with_equal_scores_fit_a_telephone(browser, tmp_path):
    same = [Scored(f"r{i}", f"M{i}" * 40, 1.0, 5.0, 5.0) for i in range(3)]
    for rows in ([], same):
        path = tmp_path / f"{len(rows)}.html"
        path.write_text(render(page_data(an_analysis(rows), rows, FACTS)), encoding="utf-8")
        browser.open(path, 390)
        assert browser.complaints() == []
        wide, window = browser.value(FITS)
        assert wide <= window
