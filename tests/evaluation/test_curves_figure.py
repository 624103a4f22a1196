"""The curves join the runs behind some weights, stand on labelled axes, and name bad histories."""

import json

import pytest
import torch
from typer.testing import CliRunner

from audio_denoising.cli import app as cli
from audio_denoising.errors import UserError
from audio_denoising.evaluation.curves_figure import curves_figure, load_curves, write_curves


def epochs(count, first_loss=0.1):
    return [
        {
            "epoch": number,
            "step": 100 * number,
            "train_seconds": 1800.0,
            "train_loss": first_loss / number,
            "validation_loss": 2 * first_loss / number,
            "train_psnr": 20.0 + number,
            "validation_psnr": 19.0 + number,
        }
        for number in range(1, count + 1)
    ]


def history(version="v4", count=3, **more):
    return {"options": {"version": version, "size": "small"}, "epochs": epochs(count), **more}


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "v4-mine"
    folder.mkdir()
    earlier = [{"options": {"version": "v4"}, "epochs": epochs(2, 0.5)}]
    (folder / "history.json").write_text(json.dumps(history(earlier=earlier)))
    return folder


def test_earlier_runs_come_first_in_steps_and_in_time(run_folder):
    for source in (str(run_folder), str(run_folder / "history.json")):
        run = load_curves(source)
        assert run.title == "v4-mine" and run.loss_name == "L1"
        assert run.steps == [100, 200, 300, 400, 500]
        assert run.hours == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5])
        assert run.starts == [2]
        assert run.values["validation_loss"][:3] == pytest.approx([1.0, 0.5, 0.2])


def test_histories_of_shipped_weights_are_found_by_version():
    run = load_curves("v2")
    assert run.title == "v2-small" and run.loss_name == "MSE" and len(run.steps) > 1


def test_the_figure_has_both_measures_over_steps_and_over_time(run_folder):
    figure = curves_figure([load_curves(str(run_folder)), load_curves("v2")])
    top_left, top_right, bottom_left, _ = figure.axes
    assert top_left.get_yscale() == "log"
    legend = [text.get_text() for text in top_right.get_legend().get_texts()]
    assert legend == ["v4-mine (L1)", "v2-small (MSE)"]
    lines = [line.get_xydata().tolist() for line in bottom_left.lines]
    assert [[100.0, 20.0], [200.0, 21.0]] in lines  # validation of the earlier run
    assert [[200.0, 21.0], [300.0, 20.0]] in lines  # the step over to the next
    assert [[300.0, 21.0], [400.0, 22.0], [500.0, 23.0]] in lines  # training


def test_bad_histories_are_named_with_the_way_out(tmp_path):
    other, empty, plain = (tmp_path / name for name in ("other.json", "empty.json", "plain.json"))
    other.write_text(json.dumps({"options": {"version": "v4"}, "epochs": [{"step": 1}]}))
    empty.write_text(json.dumps(history(count=0)))
    plain.write_text("no json")
    broken = tmp_path / "broken.pth"
    torch.save({"format": 0}, broken)
    for source, sentence in (
        (tmp_path / "gone", "no training history at .*gone.* v2, v3, v4, torch"),
        (other, "other.json is not a history of `denoise train`"),
        (empty, "empty.json is empty"),
        (plain, "plain.json is not a history"),
        (broken, "broken.pth is not a checkpoint"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_curves(str(source))
    with pytest.raises(UserError, match=r"must end in .png"):
        write_curves(["v2"], tmp_path / "curves.txt")


def test_the_command_draws_all_versions_or_the_runs_given(run_folder, tmp_path):
    def run(*arguments):
        call = ["compare", "--histories", *map(str, arguments)]
        return CliRunner().invoke(cli.commands(), call, catch_exceptions=False)

    answer = run("-o", tmp_path / "all")
    assert answer.exit_code == 0 and answer.output.strip().endswith("curves.png")
    assert (tmp_path / "all/curves.png").is_file()
    run(run_folder, "v2", "-o", tmp_path / "two.svg")
    assert "v4-mine" in (tmp_path / "two.svg").read_text()
    (tmp_path / "two.svg").write_text("mine")
    with pytest.raises(UserError, match="two.svg exists"):
        run("v2", "-o", tmp_path / "two.svg")
    assert (tmp_path / "two.svg").read_text() == "mine"
    run("v2", "-o", tmp_path / "two.svg", "--force")
    assert "v2-small" in (tmp_path / "two.svg").read_text()
