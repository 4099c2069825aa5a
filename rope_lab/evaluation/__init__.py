"""Loss and accuracy by position and length, with intervals over documents."""

from rope_lab.evaluation.extrapolation import Model as Model
from rope_lab.evaluation.extrapolation import Row as Row
from rope_lab.evaluation.extrapolation import evaluate_rows as evaluate_rows
from rope_lab.evaluation.intervals import Interval as Interval
from rope_lab.evaluation.intervals import mean_interval as mean_interval
from rope_lab.evaluation.intervals import paired_interval as paired_interval
from rope_lab.evaluation.positions import per_token as per_token
from rope_lab.evaluation.progress import RowProgress as RowProgress
from rope_lab.evaluation.results import load_results as load_results
from rope_lab.evaluation.results import save_results as save_results
