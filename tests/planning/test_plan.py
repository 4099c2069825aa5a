"""Plans of small steps by the real compiler, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rope_lab.cli.main import run_experiment
from rope_lab.cli.plan import plan_values
from rope_lab.planning.compiled import refusal
from rope_lab.planning.page import page
from rope_lab.planning.plan import too_large

ROOT = Path(__file__).parents[2]
GIB = 2**30


def write(path, values):
    path.write_text(json.dumps(values))
    return f"--config={path}"


def planned(tmp_path, values, topology, *more):
    """The record that `rope-lab plan` writes, and its table."""
    output = tmp_path / "plan.json"
    config = write(tmp_path / "config.json", values)
    command = [sys.executable, "-m", "experiments.plan", config]
    command += [f"--topology={topology}", f"--output={output}", *more]
    settings = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert output.with_suffix(".md").read_text() in done.stdout
    return json.loads(output.read_text())


@pytest.mark.slow
def test_a_small_step_is_compiled_for_four_chips(compiler, run_values, tmp_path):
    found = planned(tmp_path, run_values, "v5e:2x2")
    memory = found["memory"]
    # Float32 parameters, and two numbers of AdamW for each, divided by four but for
    # gains and counters.
    share = 4 * found["model_parameters"] / 4
    assert share < memory["parameters"] < 1.02 * share
    assert 2 * share < memory["optimizer"] < 2.04 * share
    # The arguments are those, and five int32 or float32 numbers for each token.
    state = memory["parameters"] + memory["optimizer"]
    assert state < memory["arguments"] < 1.1 * state + 5 * 4 * 512
    assert found["attention"] == "kernels"
    kinds = {one["kind"] for one in found["collectives"]}
    assert kinds & {"all-gather", "collective-permute"}
    assert found["bottleneck"] in found["seconds"]
    assert found["loops_of_unknown_length"] == 0


@pytest.mark.slow
def test_a_step_that_does_not_fit_says_what_is_missing_and_what_helps(
    compiler, run_values, tmp_path
):
    run_values["model"] |= {"num_layers": 64, "width": 4096, "ff_width": 11008}
    run_values["model"] |= {"remat": "none"}
    run_values["data"] |= {"batch_size": 64, "length": 8192}
    found = planned(tmp_path, run_values, "v5e:2x2")
    assert not found["fits"]
    assert found["memory"]["needed"] > found["memory"]["available"]
    assert 15 * GIB < found["memory"]["available"] <= 16 * GIB
    said = page(found)
    for knob in ("fsdp", "accumulation_steps=16", "remat=full", "context=2"):
        assert knob in said


@pytest.mark.parametrize(
    ("sizes", "needed", "available"),
    [("(30.46G) exceeds available HBM (15.75G)", 30.46 * GIB, 15.75 * GIB),
     ("(1.96T) exceeds available HBM (15.75G)", 1.96 * 1024 * GIB, 15.75 * GIB),
     ("for an unknown reason", None, None)],
)  # fmt: skip
def test_the_compiler_s_figures_are_read_from_its_words(sizes, needed, available):
    said = f"Ran out of memory on HBM, the total required for HLO temporaries {sizes}."
    found = refusal(f"RESOURCE_EXHAUSTED: {said}")
    assert found == {"refusal": said, "needed": needed, "available": available}


def test_a_step_that_the_compiler_lets_pass_is_compared_with_what_a_chip_has():
    assert too_large(16 * GIB, 16 * GIB) == {}
    found = too_large(20 * GIB, 16 * GIB)
    assert "20.00 GiB at once" in found["refusal"]
    assert (found["needed"], found["available"]) == (20 * GIB, 16 * GIB)


@pytest.mark.slow
def test_slices_are_joined_by_the_data_axis_alone(compiler):
    code = (
        "from rope_lab.planning import topology\n"
        "from rope_lab.planning.compiled import slices_of\n"
        "from rope_lab.planning.target import devices\n"
        "from rope_lab.training import MeshConfig, make_mesh\n"
        "found = devices(topology('v5e:4x4', 4))\n"
        "mesh = make_mesh(MeshConfig(data=8, fsdp=8), found)\n"
        "assert slices_of(mesh) == [n // 16 for n in range(64)]\n"
        "make_mesh(MeshConfig(data=2, fsdp=32), found)\n"
    )
    settings = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert "mesh.data is 2, which does not divide by the 4 slices" in done.stderr


@pytest.fixture
def planned_here(run_values, tmp_path):
    """The record of a step that is tried on this machine."""
    run_values["model"] |= {"num_layers": 1, "width": 32, "ff_width": 32}
    run_values["data"] |= {"length": 64, "batch_size": 2}
    run_values["mesh"] = {}
    config, output = write(tmp_path / "config.json", run_values), tmp_path / "plan.json"
    run_experiment("plan", ["plan", config, "--topology=here", f"--output={output}"])
    return json.loads(output.read_text())


def test_here_the_step_is_tried_and_stands_beside_its_plan(planned_here):
    found = planned_here
    assert found["fits"] and found["chips"] == 1
    assert found["measured"]["seconds"] > 0
    assert found["measured"]["peak_memory"] is None  # CPUs keep no statistics
    state = found["memory"]["parameters"] + found["memory"]["optimizer"]
    assert state <= found["memory"]["arguments"] < found["memory"]["total"]
    assert "keeps no statistics" in page(found)
    # As a GPU would have it: twice the memory and a tenth of its peak.
    found["chip"] |= {"kind": "NVIDIA H200", "memory_bandwidth": 4800e9}
    found["chip"] |= {"link_bandwidth": 450e9, "network_bandwidth": 50e9}
    found |= {"memory_traffic": 4.8e9, "collectives": [], "bottleneck": "memory"}
    found |= {"seconds": dict.fromkeys(["compute", "links", "network"], 0.0)}
    found["seconds"] |= {"memory": 0.001, "step": 0.001}
    found |= {"model_flops": 989e9, "model_flops_utilisation": 1.0}
    found |= {"loops_of_unknown_length": 0}
    found["memory"]["total"] = GIB
    found["measured"] = {"steps": 5, "seconds": 0.01, "peak_memory": 2 * GIB}
    said = page(found)
    assert "| GiB of a device | 1.00 | 2.00 | 2.00 |" in said
    assert "| seconds of a step | 0.0010 at least | 0.0100 | 10.00 |" in said
    assert "10% of the device's peak" in said


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (["--topology=v5e:32x32"], "ends at 16x16"),
        ([], "--topology is missing"),
    ],
)
def test_what_cannot_be_planned_is_one_message(
    run_values, tmp_path, capsys, topology, message
):
    config = write(tmp_path / "config.json", run_values)
    with pytest.raises(SystemExit) as stop:
        run_experiment("plan", ["plan", config, *topology])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_run_is_a_fine_tuning_where_there_is_a_checkpoint():
    values = {"checkpoint": "runs/a", "topology": "v5e:2x2"}
    assert plan_values(values) == {
        "finetune": {"checkpoint": "runs/a"},
        "topology": "v5e:2x2",
    }
