"""The comparison of precisions trains both alike, and goes on after an interruption."""

import json
from pathlib import Path

import pytest
import torch

from audio_denoising.models import WIDTHS
from audio_denoising.training import validation
from benchmarks import engine_layers, precision
from benchmarks.precision import Comparison, precision_table

CORPUS = Path(__file__).resolve().parents[1] / "data"
FOLDERS = ["--speech", str(CORPUS / "LibriSpeech"), "--noise", str(CORPUS / "noise")]
SETTINGS = {"version": "v4", "steps": 4, "batch": 2, "seed": 0}
SHORT = ["--steps", "4", "--batch", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setitem(WIDTHS, "small", (4, 4, 8, 8, 8))
    monkeypatch.setattr(engine_layers, "LARGE_PRODUCTS", (64,))
    monkeypatch.setattr(validation, "VALIDATION_SIZE", 2)
    monkeypatch.setattr(precision, "VALIDATE_EVERY", 2)
    monkeypatch.setattr(precision, "SAVE_EVERY", 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def test_both_precisions_train_the_same_network_on_the_same_mixtures(tmp_path):
    path, picture = tmp_path / "out" / "precision.json", tmp_path / "precision.png"
    precision.main([*FOLDERS, *SHORT, "--json", str(path), "--figure", str(picture)])
    results = json.loads(path.read_text(encoding="utf-8"))
    full, half = (results["train_loss"][name] for name in ("fp32", "bf16"))
    assert len(full) == len(half) == 4
    assert half == pytest.approx(full, rel=2e-2) and half != full
    assert [row["step"] for row in results["validation"]] == [2, 4]
    last = results["validation"][-1]
    ratio = last["bf16"]["validation_loss"] / last["fp32"]["validation_loss"]
    assert results["validation_loss_ratio"] == pytest.approx(ratio, rel=1e-3)
    assert results["settings"] == SETTINGS | precision.RECIPE | {"size": "small", "threads": 1}
    assert f"{results['step_seconds_ratio']:.2f} times as long" in precision_table(results)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in path.parent.iterdir()] == ["precision.json"]


def test_an_interrupted_comparison_goes_on_exactly(tmp_path, monkeypatch):
    arguments = [*FOLDERS, *SHORT, "--json"]
    precision.main([*arguments, str(tmp_path / "straight.json")])
    path = tmp_path / "resumed.json"
    with monkeypatch.context() as patch:
        take = Comparison._take

        def until_the_power_fails(self, *images):
            if self.step == 3:
                raise KeyboardInterrupt
            take(self, *images)

        patch.setattr(Comparison, "_take", until_the_power_fails)
        with pytest.raises(KeyboardInterrupt):
            precision.main([*arguments, str(path)])
    assert not path.exists()
    with pytest.raises(SystemExit, match=r"resumed.*other settings"):
        precision.main([*arguments, str(path), "--seed", "1"])
    resumed_at = []
    run = Comparison.run
    monkeypatch.setattr(
        Comparison, "run", lambda self, *given: (resumed_at.append(self.step), run(self, *given))
    )
    precision.main([*arguments, str(path)])
    assert resumed_at == [3]
    straight, resumed = (
        json.loads(file.read_text(encoding="utf-8")) for file in (tmp_path / "straight.json", path)
    )
    for key in ("train_loss", "validation", "validation_loss_ratio"):
        assert resumed[key] == straight[key]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["resumed.json", "straight.json"]


def test_only_the_precision_differs():
    learners = Comparison(SETTINGS, None).learners
    full, half = learners["fp32"], learners["bf16"]
    weights = half.model.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in full.model.state_dict().items())
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(full.predict(image), half.predict(image))  # validated by the same ruler
    a, b = (learner.step(image, image, 1e-3)[1] for learner in (full, half))
    assert not torch.equal(a, b)


def test_a_folder_that_is_not_there_ends_with_one_sentence(tmp_path):
    gone = str(tmp_path / "gone")
    with pytest.raises(SystemExit, match="gone"):
        precision.main(["--speech", gone, "--noise", gone])
