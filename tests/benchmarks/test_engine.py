"""The engine benchmark measures what it says, on a network small enough for a test."""

import json

import pytest
import torch

from audio_denoising.errors import UserError
from audio_denoising.models import WIDTHS, build
from audio_denoising.nn.fast import rows as row_lowering
from benchmarks import engine, engine_layers, engine_memory, engine_rounds, engine_sides
from benchmarks.engine_alternatives import columns_correlate, scatter_input_gradient
from benchmarks.engine_layers import layer_shapes
from benchmarks.engine_report import ablation_table, engine_table, layer_table, misses_table
from benchmarks.engine_rounds import FEW, interleaved, ratio
from benchmarks.engine_sides import OURS, REFERENCE, SIDES, TWINS

QUICK = ["--batch", "1", "--rounds", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def settings_are_put_back():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def thin(monkeypatch):
    monkeypatch.setitem(WIDTHS, "small", (4, 4, 8, 8, 8))
    monkeypatch.setattr(engine_layers, "LARGE_PRODUCTS", (64,))
    monkeypatch.setattr(engine_rounds, "BRIEF", 0.0)


@pytest.fixture
def memory_of_this_process(monkeypatch):
    grown = dict(zip(SIDES, (80.0, 120.0, 100.0, 300.0), strict=True))
    monkeypatch.setattr(
        engine, "growth_in_fresh_process", lambda side, *settings: {"growth_mib": grown[side]}
    )


def test_everything_asked_for_is_in_the_json(thin, memory_of_this_process, tmp_path):
    path, picture = tmp_path / "out" / "engine.json", tmp_path / "engine.png"
    engine.main([*QUICK, "--batches", "1,2", "--json", str(path), "--figure", str(picture)])
    results = json.loads(path.read_text(encoding="utf-8"))
    assert list(results)[:4] == list(engine.HEADLINES)
    assert all(results[name] > 0 for name in engine.HEADLINES)
    assert results["peak_memory_ratio"] == 0.8  # of the leaner twin
    assert results["settings"]["batch"] == 1 and results["machine"]["cores"] >= 1
    for phase in ("forward", "train_step"):
        assert {side: len(s) for side, s in results["seconds"][phase].items()} == dict.fromkeys(
            SIDES, 2
        )
        assert results["ratios"][phase]["to"] in TWINS
    assert results["ratios"]["reference"]["of"] == REFERENCE
    assert results["largest_difference"] < 1e-4
    assert [each["batch"] for each in results["batches"]] == [1, 2]
    assert results["gemm_ceiling_gflops"] > 0
    assert set(results["machine"]["product_units"].values()) <= {True, False}
    for row in results["layers"]:
        assert row["forward"]["ratio"]["of"] == row["backward"]["ratio"]["of"] == OURS
        assert ("gflops" in row["forward"]) == ("conv" in row["layer"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in path.parent.iterdir()] == ["engine.json"]
    assert "v4-small, batch 1, 1 threads | " in engine_table([results])
    assert len(layer_table(results).splitlines()) == len(results["layers"]) + 4


def test_a_part_can_be_measured_alone(thin, tmp_path):
    path = tmp_path / "engine.json"
    engine.main([*QUICK, "--parts", "rounds", "--json", str(path)])
    results = json.loads(path.read_text(encoding="utf-8"))
    assert "train_step_ratio" in results and "layers" not in results and "memory" not in results
    assert "–" in engine_table([results])


def test_of_several_processors_the_worst_comes_first():
    def measured(cpu, ratio, size="small"):
        settings = {"size": size, "batch": 16, "threads": 2}
        ratios = {"train_step": {"median": ratio, "quartiles": [ratio, ratio]}}
        return {"settings": settings, "machine": {"cpu": cpu}, "ratios": ratios}

    results = [
        measured("Intel(R) Xeon(R) Processor", 1.07),
        measured("Intel(R) Xeon(R) Processor", 2.0, "large"),
        measured("AMD EPYC", 1.3) | {"machine": {"cpu": "AMD EPYC", "cpu_model": "family 25"}},
    ]
    _, _, *rows = engine_table(results).splitlines()
    processors = [[cell.strip() for cell in row.split("|")][2] for row in rows]
    assert processors == ["AMD EPYC (family 25)", "Intel Xeon", "Intel Xeon"]


def test_the_tricks_are_measured_one_by_one(thin, tmp_path):
    path = tmp_path / "ablation.json"
    engine.main([*QUICK, "--ablation", "--json", str(path)])
    results = json.loads(path.read_text(encoding="utf-8"))
    assert len({row["trick"] for row in results["ablation"]}) >= 10
    assert all(row["ratio"]["of"] == "without" for row in results["ablation"])
    assert len(ablation_table(results).splitlines()) == len(results["ablation"]) + 4


def test_memory_is_that_of_a_process_of_its_own(monkeypatch):
    ballast = torch.zeros(200 << 18)  # 200 MiB here that must not count there
    found = engine_memory.growth_in_fresh_process(OURS, "small", 1, 1)
    del ballast
    assert found["growth_mib"] == pytest.approx(found["peak_mib"] - found["before_mib"])
    weights = sum(p.data.numel() for p in build("v4", "small").parameters()) * 4 / 2**20
    assert 4 * weights < found["growth_mib"] < 2000  # weights, gradients, two moments; activations


@pytest.mark.parametrize("name", SIDES)
def test_every_side_trains_the_same_network(thin, name):
    batch, weights = engine_sides.real_batch(2), engine_sides.first_weights("small")
    side = engine_sides.make_side(name, "small", batch, weights)
    twin = engine_sides.make_side(TWINS[0], "small", batch, weights)
    torch.testing.assert_close(side.forward(), twin.forward(), rtol=1e-4, atol=1e-5)
    for _ in range(3):
        torch.testing.assert_close(side.step(), twin.step(), rtol=1e-4, atol=1e-6)


def test_the_batch_is_real_speech_and_always_the_same():
    (noisy, clean), again = engine_sides.real_batch(3), engine_sides.real_batch(3)
    assert noisy.shape == clean.shape == (3, 1, 256, 256)
    assert torch.equal(noisy, again[0]) and torch.equal(clean, again[1])
    assert not torch.equal(noisy[0], noisy[1])
    assert 0.1 < float(noisy.mean()) < 0.9 and float(noisy.mean()) > float(clean.mean())


def test_sides_that_differ_are_not_timed(thin):
    batch, weights = engine_sides.real_batch(1), engine_sides.first_weights("small")
    other = {name: value + 0.1 for name, value in weights.items()}
    sides = {
        name: engine_sides.make_side(name, "small", batch, state)
        for name, state in ((TWINS[0], weights), (OURS, other))
    }
    with pytest.raises(UserError, match="differ"):
        engine._agreement(sides, batch)


def test_a_run_of_other_parts_is_added_to(thin, tmp_path):
    path = tmp_path / "engine.json"
    engine.main([*QUICK, "--parts", "rounds", "--json", str(path)])
    first = json.loads(path.read_text(encoding="utf-8"))
    batches = [*QUICK, "--parts", "batches", "--batches", "2", "--json", str(path)]
    engine.main([*batches, "--update"])
    both = json.loads(path.read_text(encoding="utf-8"))
    assert both["train_step_ratio"] == first["train_step_ratio"]
    assert both["ratios"] == first["ratios"]
    assert [each["batch"] for each in both["batches"]] == [2]
    with pytest.raises(SystemExit, match="other settings: leave --update out"):
        engine.main([*batches, "--update", "--batch", "2"])
    assert json.loads(path.read_text(encoding="utf-8")) == both
    engine.main(batches)
    assert "train_step_ratio" not in json.loads(path.read_text(encoding="utf-8"))


def test_misses_are_listed_by_what_they_cost():
    def passes(ours, theirs):
        found = {"of": OURS, "to": TWINS[0], "median": ours / theirs, "quartiles": [1, 1]}
        return {"seconds": {OURS: [ours], TWINS[0]: [theirs]}, "ratio": found}

    layers = [
        {"layer": "a", "count": 1, "forward": passes(0.2, 0.1), "backward": passes(0.1, 0.15)},
        {"layer": "b", "count": 3, "forward": passes(0.2, 0.15), "backward": passes(0.1, 0.0999)},
    ]
    convolution = layers[1]["forward"]
    convolution["gflops"], layers[1]["gemm_gflops"] = {OURS: 50.0, TWINS[0]: 210.0}, 200.0
    lines = misses_table({"layers": layers}).splitlines()
    assert lines[2:4] == [
        "| b | 3 | forward | 1.33 | 600.0 | 150.0 | 50.0 | 25 | 105 |",
        "| a | 1 | forward | 2.00 | 200.0 | 100.0 | 16.7 | – | – |",
    ]
    assert "3 of 4 passes" in lines[-1] and "(1 of them lose too little" in lines[-1]
    assert "the others take 50 ms less" in lines[-1] and "together take 1200 ms" in lines[-1]


def test_rounds_rotate_and_the_slow_sit_out():
    order = []

    def trial(name, seconds):
        def run():
            order.append(name)
            return {"phase": seconds}

        return run

    trials = {"a": trial("a", 1.0), "b": trial("b", 2.0), "slow": trial("slow", 30.0)}
    series = interleaved(trials, 7, slow=("slow",))["phase"]
    assert series["a"] == [1.0] * 7
    assert [number for number, s in enumerate(series["slow"]) if s is not None] == [0, 3, 6]
    assert order[3:10] == ["a", "b", "slow", "b", "a", "a", "b"]  # after the warm-up
    found = ratio(series, "slow", "b")
    assert found["median"] == 15.0 and found["rounds"] == FEW


def test_the_ratio_is_taken_within_each_round():
    series = {"ours": [1.0, 4.0, 3.0], "torch": [2.0, 8.0, 3.0]}  # a machine that slows down
    found = ratio(series, "ours", "torch")
    assert found["median"] == 0.5 and found["quartiles"] == [0.5, 0.75]
    assert ratio({"a": [3.0], "b": [2.0]}, "a", "b")["quartiles"] == [1.5, 1.5]


@pytest.mark.parametrize("size", WIDTHS)
def test_the_layers_are_those_of_the_network(size):
    shapes = layer_shapes(size)
    weights = sum(
        count * (s.channels_in * s.channels_out * s.kernel[0] * s.kernel[1] + s.channels_out)
        for s, count in shapes.items()
        if s.convolves
    )
    with torch.device("meta"):
        assert weights == sum(p.data.numel() for p in build("v4", size).parameters())
    first, *others = (s for s in shapes if s.convolves)
    assert not first.input_gradient and all(s.input_gradient for s in others)
    width = WIDTHS[size][0]
    assert first.flops(2) == dict.fromkeys(("forward", "backward"), 2 * 2 * 256**2 * 9 * width)


def test_the_alternatives_of_the_ablation_compute_the_same():
    x, g = torch.randn(2, 5, 9, 8), torch.randn(2, 6, 5, 4)
    weight, bias = torch.randn(6, 5, 3, 3), torch.randn(6)
    torch.testing.assert_close(
        columns_correlate(x, weight, bias, (1, 1)),
        row_lowering.correlate(x, weight, bias, (1, 1), (1, 1)),
        rtol=1e-4,
        atol=1e-4,
    )
    geometry = ((9, 8), (2, 2), (1, 1))
    torch.testing.assert_close(
        scatter_input_gradient(g, weight, *geometry),
        row_lowering.input_gradient(g, weight, *geometry),
        rtol=1e-4,
        atol=1e-4,
    )
