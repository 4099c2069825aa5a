"""Loss by position and length, perplexity, retrieval and L-Eval, with intervals."""

from rope_lab.evaluation.extrapolation import Model as Model
from rope_lab.evaluation.extrapolation import Row as Row
from rope_lab.evaluation.extrapolation import evaluate_rows as evaluate_rows
from rope_lab.evaluation.intervals import Interval as Interval
from rope_lab.evaluation.intervals import mean_interval as mean_interval
from rope_lab.evaluation.intervals import paired_interval as paired_interval
from rope_lab.evaluation.leval import measure_leval as measure_leval
from rope_lab.evaluation.perplexity import Protocol as Protocol
from rope_lab.evaluation.perplexity import measure_perplexity as measure_perplexity
from rope_lab.evaluation.positions import per_token as per_token
from rope_lab.evaluation.progress import RowProgress as RowProgress
from rope_lab.evaluation.results import load_results as load_results
from rope_lab.evaluation.results import save_results as save_results
from rope_lab.evaluation.retrieval import measure_retrieval as measure_retrieval
from rope_lab.evaluation.subject import Subject as Subject
