"""The figures: what is drawn, what is said instead, and the files."""

import os
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from test_report_analysis import an_analysis
from test_report_stats import some_rows

from kernelsift.errors import DataError
from kernelsift.report.analysis import JudgedBy
from kernelsift.report.panels import reward_window
from kernelsift.report.plots import correlation_figure, joint_figure, render, save


def texts(figure):
    """Everything written in a figure but ticks."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in axes.texts]
    return "\n".join(found)


@pytest.fixture(scope="module")
def drawn():
    """Figures of 300 usual rows."""
    rows = some_rows(300)
    analysis = an_analysis(rows)
    return correlation_figure(rows, analysis), joint_figure(rows, analysis)


def test_the_correlation_figure_has_six_panels_and_a_colour_bar(drawn):
    assert len(drawn[0].axes) == 7


def test_the_joint_figure_has_a_heatmap_and_two_margins(drawn):
    assert len(drawn[1].axes) == 3


def test_every_axis_names_what_it_shows_and_its_scale(drawn):
    for axes in drawn[0].axes[:6]:
        assert axes.get_xlabel() in {"Difficulty (0–10)", "Style (0–10)"}
        assert axes.get_ylabel().startswith(("Reward", "Style (0–10)"))


def test_titles_quote_r_with_its_interval(drawn):
    for axes in drawn[0].axes[:3]:
        assert "Pearson r = " in axes.get_title(loc="left")
        assert "95 % CI" in axes.get_title(loc="left")


def test_the_figure_says_n_the_judge_and_the_rows_without_a_verdict(drawn):
    for figure in drawn:
        assert "n = 300 rows" in texts(figure)
        assert "judge: openai/gpt-5.2" in texts(figure)
        assert "127 rows without a verdict not shown" in texts(figure)


def test_every_box_shows_its_n():
    rows = [replace(row, style=float(i % 3)) for i, row in enumerate(some_rows(33))]
    figure = correlation_figure(rows, an_analysis(rows))
    assert [text.get_text() for text in figure.axes[4].texts] == ["11", "11", "11"]


def test_heatmap_cells_show_their_n_and_empty_cells_are_blank():
    rows = some_rows(300)
    cells = {(row.difficulty, row.style) for row in rows}
    figure = correlation_figure(rows, an_analysis(rows))
    numbers = [int(text.get_text()) for text in figure.axes[5].texts]
    assert len(numbers) == len(cells)
    assert sum(numbers) == 300


def test_outliers_do_not_squash_the_reward_axis_and_are_counted():
    rows = some_rows(4000)
    rows[:7] = [replace(row, reward=1000.0) for row in rows[:7]]
    figure = correlation_figure(rows, an_analysis(rows))
    assert figure.axes[0].get_ylim()[1] < 2
    low, high = figure.axes[0].get_ylim()
    outside = sum(not low <= row.reward <= high for row in rows)
    assert outside >= 7
    assert f"({outside} rows outside the axis)" in figure.axes[0].get_ylabel()


def test_a_reward_window_of_few_rows_leaves_none_out():
    assert reward_window(some_rows(40, outliers=True)).outside == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_rows_are_explained_in_every_panel(count):
    rows = some_rows(count)
    figure = correlation_figure(rows, an_analysis(rows))
    assert len(figure.axes) == 6
    for axes in figure.axes:
        assert "at" in axes.texts[0].get_text()
        assert axes.texts[0].get_text().startswith("Not drawn")
    assert render(figure, "png")


def test_a_constant_reward_is_explained_where_it_matters_only():
    rows = [replace(row, reward=1.0) for row in some_rows(50)]
    figure = correlation_figure(rows, an_analysis(rows))
    told = [any("same reward" in t.get_text().replace("\n", " ") for t in a.texts)
            for a in figure.axes]  # fmt: skip
    assert told == [True, True, False, True, True, True]


def test_no_rows_make_a_joint_figure_that_says_so():
    figure = joint_figure([], an_analysis([]))
    assert "there are no rows" in texts(figure).replace("\n", " ")
    assert render(figure, "svg")


def test_one_row_is_drawn_in_the_joint_figure():
    rows = some_rows(1)
    assert render(joint_figure(rows, an_analysis(rows)), "png")


@pytest.mark.parametrize(("draw", "kind"), [(correlation_figure, "png"), (joint_figure, "svg")])
def test_the_same_rows_in_any_order_give_the_same_bytes(draw, kind):
    rows = some_rows(60)
    analysis = an_analysis(rows)
    assert render(draw(rows, analysis), kind) == render(draw(rows[::-1], analysis), kind)


def test_saved_files_are_whole_pictures(drawn, tmp_path):
    for figure, name in zip(drawn, ("correlation_analysis", "joint_distribution"), strict=True):
        png = save(figure, tmp_path / f"{name}.png").read_bytes()
        svg = save(figure, tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(png) > 20_000
        assert svg.rstrip().endswith("</svg>")
    assert len(list(tmp_path.iterdir())) == 4


def test_another_kind_of_file_is_refused(drawn, tmp_path):
    with pytest.raises(DataError, match="choose png or svg"):
        save(drawn[0], tmp_path / "a.pdf")


def test_an_analysis_of_other_rows_is_refused():
    with pytest.raises(DataError, match="of 4 rows, but 5"):
        joint_figure(some_rows(5), an_analysis(some_rows(4)))


def test_drawing_leaves_no_global_state_behind():
    before = {key: value for key, value in mpl.rcParams.items() if key != "backend"}
    rows = some_rows(20)
    render(joint_figure(rows, an_analysis(rows)), "svg")
    assert {key: mpl.rcParams[key] for key in before} == before


def test_importing_the_report_loads_nothing_heavy():
    modules = "analysis, card, plots, panels, stats"
    heavy = "{'numpy', 'scipy', 'matplotlib', 'huggingface_hub'}"
    script = (
        f"import sys; from kernelsift.report import {modules}; print({heavy} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "set()"


def test_the_readers_own_settings_do_not_change_the_picture():
    rows = some_rows(20)
    analysis = an_analysis(rows)
    usual = render(joint_figure(rows, analysis), "png")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 30}):
        assert render(joint_figure(rows, analysis), "png") == usual


def test_a_judge_name_of_any_letters_can_be_drawn():
    judge = JudgedBy(judge="a$\\frac{b$ 模型\n" + "x" * 200, prompt_version="$_{")
    rows = some_rows(20)
    assert render(correlation_figure(rows, an_analysis(rows, judge=judge)), "png")


def test_huge_rewards_are_drawn_without_complaint():
    rows = [replace(row, reward=float(x)) for row, x in
            zip(some_rows(30), np.geomspace(1, 1e12, 30), strict=True)]  # fmt: skip
    assert render(correlation_figure(rows, an_analysis(rows)), "png")
