"""The verbs of `rope-lab`: one row each.

A command with a config is an experiment: `experiments/NAME.py` runs it, too, and `main`
reads its flags. The others take their arguments themselves. Modules are imported when
they are run.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """What a verb does, who does it, and how it is called."""

    about: str  # one line
    function: str  # module:function
    example: str  # behind `rope-lab`
    config: str | None = None  # dataclass of rope_lab.cli.config


COMMANDS = {
    "demo": Command(
        "pretrain, extend, fine-tune, measure and report in one go",
        "rope_lab.cli.demo:demo",
        "demo --config=configs/demo.py --workdir=runs/demo",
        "DemoConfig",
    ),
    "pretrain": Command(
        "train a decoder under a position logic",
        "rope_lab.cli.pretrain:pretrain",
        "pretrain --config=configs/pretrain.py --workdir=runs/base",
        "PretrainConfig",
    ),
    "finetune": Command(
        "train a checkpoint on under a new logic",
        "rope_lab.cli.finetune:finetune",
        "finetune --config=configs/finetune.py --workdir=runs/long",
        "FinetuneConfig",
    ),
    "extrapolate": Command(
        "measure checkpoints under many logics and lengths, or a whole study",
        "rope_lab.cli.extrapolate:extrapolate",
        "extrapolate --config=configs/extrapolate.py --workdir=runs/far",
        "ExtrapolateConfig",
    ),
    "posgen": Command(
        "the study of the Resonance paper",
        "rope_lab.cli.posgen:posgen",
        "posgen --config=configs/posgen_small.py --workdir=runs/posgen",
        "PosGenStudyConfig",
    ),
    "sweep": Command(
        "a grid over a config of pretrain",
        "rope_lab.cli.sweep:sweep",
        "sweep --config=configs/pretrain.py --workdir=runs/sweep --grid='seed=[0,1]'",
        "SweepConfig",
    ),
    "wavelengths": Command(
        "search frequencies by gradient and by evolution",
        "rope_lab.cli.wavelengths:wavelengths",
        "wavelengths --config=configs/wavelengths_small.py --workdir=runs/wavelengths",
        "WavelengthsConfig",
    ),
    "evaluate": Command(
        "perplexity, retrieval and L-Eval of a checkpoint",
        "rope_lab.cli.evaluate:evaluate",
        "evaluate runs/base --workdir=runs/scores",
        "EvaluateConfig",
    ),
    "perplexity": Command(
        "perplexity of a checkpoint by length, in one convention",
        "rope_lab.cli.perplexity:perplexity",
        "perplexity runs/base --workdir=runs/ppl --convention=sliding --stride=64",
        "PerplexityConfig",
    ),
    "generate": Command(
        "continue a prompt, or chat",
        "rope_lab.cli.generate:generate",
        'generate runs/base --prompt="Fellow citizens"',
        "GenerateConfig",
    ),
    "compare": Command(
        "runs side by side on one page",
        "rope_lab.cli.compare:main",
        "compare runs/base runs/long --out=compare.html",
    ),
    "plan": Command(
        "what a training step would need of TPUs that are not here",
        "rope_lab.cli.plan:plan",
        "plan --config=configs/llama2_7b_32k.py --topology=v5p:4x4x4",
        "PlanConfig",
    ),
    "import": Command(
        "a checkpoint of ours from one of another program",
        "rope_lab.cli.importing:import_checkpoint",
        "import Llama-3.2-1B --workdir=runs/llama",
        "ImportConfig",
    ),
    "export": Command(
        "a checkpoint for transformers",
        "rope_lab.cli.exporting:export",
        "export runs/long exported/long",
        "ExportConfig",
    ),
    "checkpoint": Command(
        "what checkpoints hold, whether they are whole, how two differ",
        "rope_lab.cli.checkpoint:checkpoint",
        "checkpoint inspect runs/base",
    ),
    "bench": Command(
        "a benchmark of the clone",
        "rope_lab.cli.bench:bench",
        "bench attention --full",
    ),
    "list": Command(
        "the catalogue of encodings",
        "rope_lab.cli.listing:list_encodings",
        "list rerope yarn",
    ),
}
