"""Pictures of curves, matrices and wavelengths, for pages, notebooks and papers.

Every function writes two PNG files, for light and for dark pages: ``path`` itself and
``dark_path(path)``; it returns ``path``, which `show` takes in a notebook. Inside
``with paper("single")`` or ``paper("double")`` it writes one vector PDF in its place.
"""

from rope_lab.plots.curves import accuracy_by_text as accuracy_by_text
from rope_lab.plots.curves import context_use as context_use
from rope_lab.plots.curves import excess_by_position as excess_by_position
from rope_lab.plots.curves import loss_by_position as loss_by_position
from rope_lab.plots.curves import training_curves as training_curves
from rope_lab.plots.encodings import (
    relative_position_matrices as relative_position_matrices,
)
from rope_lab.plots.encodings import wavelengths as wavelengths
from rope_lab.plots.found import found_wavelengths as found_wavelengths
from rope_lab.plots.heatmap import needle_heatmap as needle_heatmap
from rope_lab.plots.notebook import show as show
from rope_lab.plots.notebook import sliders as sliders
from rope_lab.plots.perplexity import perplexity_by_length as perplexity_by_length
from rope_lab.plots.posgen import posgen_accuracy as posgen_accuracy
from rope_lab.plots.posgen import posgen_validation as posgen_validation
from rope_lab.plots.rotations import rotations as rotations
from rope_lab.plots.study import accuracy_against as accuracy_against
from rope_lab.plots.study import accuracy_by_position as accuracy_by_position
from rope_lab.plots.study import feature_gaps as feature_gaps
from rope_lab.plots.study import gap_against_loss as gap_against_loss
from rope_lab.plots.style import dark_path as dark_path
from rope_lab.plots.style import paper as paper
