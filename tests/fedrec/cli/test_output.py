"""What goes to stdout, what to stderr, and how figures look."""

import json

import pytest

from fedrec.cli.output import RoundBar, with_interval, write_json, write_line, write_table


def test_json_on_stdout_is_json_and_keeps_letters(capsys):
    write_json({"title": "Amélie", "hr@10": 0.5})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"title": "Amélie", "hr@10": 0.5}
    assert "Amélie" in shown


def test_a_number_that_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json({"epsilon": float("nan")})


def test_a_line_is_printed_as_it_stands(capsys):
    text = "report: /a[bold]b/" + "long" * 60
    write_line(text)
    assert capsys.readouterr().out == text + "\n"


def test_a_table_shows_every_cell_and_takes_brackets_literally(capsys):
    write_table("quality", ["model", "HR@10"], [["EASE [red]", "0.148 [0.126, 0.171]"]])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("quality", "model", "HR@10", "EASE [red]", "0.148 [0.126, 0.171]"))


def test_a_figure_with_and_without_its_interval():
    assert with_interval(0.1484, (0.126, 0.171)) == "0.148 [0.126, 0.171]"
    assert with_interval(0.1484, None) == "0.148"


def test_the_bar_speaks_on_stderr_alone_and_shows_phases_rounds_and_notes(capsys):
    with RoundBar() as bar:
        bar.note("data: 943 users [sic]")
        bar.round({"round": 0})
        bar.phase("without DP", 2)
        bar.round({"round": 0, "epsilon": 1.0})
        bar.round({"round": 2, "epsilon": 1.25})
        bar.phase("with DP", 0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(text in captured.err for text in ("[sic]", "without DP", "2/2", "epsilon 1.250", "with DP"))


def test_the_bar_shows_the_latest_measured_figures(capsys):
    with RoundBar() as bar:
        bar.phase("training", 2)
        bar.round({"round": 1, "metrics": {"ndcg@10": 0.041, "mrr": 0.5}})
        bar.round({"round": 2, "metrics": None})
    shown = capsys.readouterr().err
    assert "ndcg@10 0.041" in shown
    assert "mrr" not in shown


def test_a_bar_over_several_runs_tells_them_apart_and_says_nothing_twice(capsys):
    with RoundBar() as bar:
        for title in ("without DP", "with DP"):
            bar.entitle(title)
            bar.note("943 users")
            bar.phase("training", 1)
    shown = capsys.readouterr().err
    assert "without DP: training" in shown
    assert "with DP: training" in shown
    assert shown.count("943 users") == 1


def interrupted_training():
    with RoundBar() as bar:
        bar.phase("training", 3)
        raise KeyError("x")


def test_the_bar_lets_an_error_through():
    with pytest.raises(KeyError):
        interrupted_training()
