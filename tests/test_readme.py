"""The README keeps its word: its commands, paths, links, snippets and tables are what it says."""

import json
import re
from pathlib import Path

import pytest
import typer.main

from audio_denoising.cli import app as cli
from audio_denoising.evaluation.frozen_lists import FIRST, SECOND
from audio_denoising.evaluation.judging import Candidate
from audio_denoising.evaluation.results import NOISY
from audio_denoising.models.versions import DEFAULT, shipped
from benchmarks import readme

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SNIPPETS = [body for language, body in FENCES if language == "python"]


def test_the_first_block_holds_exactly_the_two_commands():
    assert FENCES[0] == (
        "",
        "pip install -r requirements.txt && denoise clean examples/noisy_street.wav\n"
        "pip install -r requirements-dev.txt && pytest\n",
    )


def test_nothing_is_installed_by_a_name_that_an_index_must_have():
    """The package is in no index: a clone installs itself, and extras by their own names."""
    sources = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.py")]
    found = [path.name for path in sources if "audio-denoising[" in path.read_text("utf-8")]
    assert len(sources) > 100 and not found


@pytest.mark.parametrize("document", readme.DOCUMENTS)
def test_links_and_pictures_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if "://" not in link and not ((ROOT / document).parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", readme.DOCUMENTS)
def test_paths_in_code_quotes_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    quoted = re.findall(r"`((?:src|docs|examples|tests|benchmarks)/[^`\s]*)`", text)
    made_by_a_command = {"examples/noisy_street_denoised.wav"}
    assert not [path for path in set(quoted) - made_by_a_command if not (ROOT / path).exists()]


def test_scripts_modules_and_inputs_of_the_commands_exist():
    commands = "\n".join(body for language, body in FENCES if language != "python")
    scripts = re.findall(r"^python (\w+\.py)", commands, re.MULTILINE)
    inputs = re.findall(r"denoise clean (examples/\S+)", commands)
    requirements = re.findall(r"-r (\S+)", commands)
    modules = re.findall(r"python -m ([\w.]+)", commands)
    assert scripts and inputs and requirements and modules
    for path in (*scripts, *inputs, *requirements):
        assert (ROOT / path).is_file(), path
    for module in modules:
        path = Path(*module.split(".")).with_suffix(".py")
        assert (ROOT / path).is_file() or (ROOT / "src" / path).is_file(), module


def test_the_command_line_knows_every_command_and_option_named():
    command_line = typer.main.get_command(cli.commands())
    lines = [line.split("#")[0].split() for _, body in FENCES for line in body.splitlines()]
    calls = [line[line.index("denoise") + 1 :] for line in lines if "denoise" in line]
    calls = [" ".join(call).split(" | ")[0].split() for call in calls]  # not what reads its output
    scripts = {"train_v4.py": "train", "train_torch.py": "train", "inference_compare.py": "compare"}
    calls += [[scripts[line[1]], *line[2:]] for line in lines if line[1:2] and line[1] in scripts]
    calls = [call for call in calls if call and call[0].isalpha()]
    assert {call[0] for call in calls} == set(command_line.commands)
    assert {call[1] for call in calls if call[0] == "data"} == set(
        command_line.commands["data"].commands
    )
    for name, *arguments in calls:
        command = command_line.commands[name]
        if name == "data":
            command = command.commands[arguments.pop(0)]
        known = {option for each in command.params for option in each.opts}
        named = {word for word in arguments if word.startswith("-") and word != "-"}
        assert named <= known, name


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_python_snippets_run(snippet, tmp_path, monkeypatch):
    if "denoise(" in snippet and not shipped(DEFAULT).exists():
        pytest.skip(f"the weights of {DEFAULT} are not in this tree")
    (tmp_path / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("document", readme.DOCUMENTS)
def test_measured_blocks_are_what_the_results_say(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert "<!-- measured:" in text
    assert readme.fill(text) == text, "run python -m benchmarks.readme"


def test_committed_results_are_of_the_shipped_weights_on_the_whole_frozen_list():
    path = ROOT / readme.RESULTS / "quality.json"
    if not path.exists():
        pytest.skip("no quality results are committed")
    results = json.loads(path.read_text(encoding="utf-8"))
    judged = [(item["part"], item["sha256"]) for item in results["items"]]
    first, second = ([(row.part, row.sha256) for row in each.rows()] for each in (FIRST, SECOND))
    assert judged in (first, first + second)
    assert results["weights"] == {n: Candidate(n, n).digest() for n in results["weights"]}
    names = {NOISY, "v2", "v3", "v4", "torch", "noisereduce", "RNNoise"}
    assert names <= results["items"][0]["scores"].keys()


def test_committed_results_of_v5_are_of_its_weights_on_both_whole_lists():
    path = ROOT / readme.RESULTS / "quality_v5.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    judged = [(item["part"], item["sha256"]) for item in results["items"]]
    assert judged == [(row.part, row.sha256) for each in (FIRST, SECOND) for row in each.rows()]
    assert results["weights"] == {n: Candidate(n, n).digest() for n in ("v4", "v5")}
    assert {"DeepFilterNet3", "GTCRN", "DTLN"} <= results["items"][0]["scores"].keys()
