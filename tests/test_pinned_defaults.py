"""Every default that a user gets without asking, and every constant behind it, in one table: a change has to be made twice."""

import inspect
from importlib import import_module

import pytest

import torch_gbp
import torch_gbp.denoise
import torch_gbp.evaluation
import torch_gbp.local
import torch_gbp.reporting
import torch_gbp.sklearn
from torch_gbp.autograd.bridge import Rule

FACTORY = repr(inspect.signature(torch_gbp.Inference).parameters["schedule"].default)  # of a dataclass: made anew each time


def written(value):
    """A default as the table writes it: numbers and text as they are, the rest by name."""
    if isinstance(value, Rule):
        return value.backward.__name__
    if value is None or isinstance(value, (bool, int, float, str)) or type(value) is tuple:
        return value
    return "made anew" if repr(value) == FACTORY else getattr(value, "__name__", repr(value))


def defaults(name):
    """The defaults of a public class or function."""
    found = next(getattr(room, name) for room in ROOMS if hasattr(room, name))
    parameters = inspect.signature(found).parameters.items()
    return {key: written(one.default) for key, one in parameters if one.default is not inspect.Parameter.empty}


def public():
    """Names that have defaults."""
    names = (name for room in ROOMS for name in getattr(room, "__all__", ()))
    return [name for name in dict.fromkeys(names) if callable(getattr(torch_gbp, name, None)) or not hasattr(torch_gbp, name)]


def pinned(place, names):
    """What the code says: the defaults of a public name, or constants of a module or a class in one, as `optim.monitor`."""
    if place in public():
        return defaults(place)
    room, _, name = place.rpartition(".")
    inside = getattr(import_module(f"torch_gbp.{room}"), name) if name[:1].isupper() else import_module(f"torch_gbp.{place}")
    return {key: getattr(inside, key) for key in names}


ROOMS = (torch_gbp, torch_gbp.denoise, torch_gbp.local, torch_gbp.evaluation, torch_gbp.reporting, torch_gbp.sklearn)
ESTIMATOR = {"hidden": (64, 64), "epochs": None, "batch_size": None, "lr": None, "random_state": None, "verbose": False}

TABLE = {
    "optim.message_weight": {"MOST": 2.0, "FIRST": 2.0, "FEW": 500},
    "sklearn.settings": {"HIDDEN": (64, 64), "BATCH": 16, "BATCHES": 50, "CLASSES": (0.2, 1000), "REAL": (0.1, 1500)},
    "GBPClassifier": ESTIMATOR,
    "GBPRegressor": ESTIMATOR,
    "optim.monitor": {"FIRST": 0.1, "EVERY": 0.1, "SPARSE": 0.0025, "FEWEST": 16, "SIGNIFICANT": 1.5, "DOUBTS": 2},
    "autograd.probes": {"EARLY": 16, "EVERY": 8},
    "optim.stores.bounded": {
        **{"MEANS": 2.5, "NOISE": 6e-3, "PEAK": 0.4, "LEAST": 0.2, "RADIAL": 0.05, "LOOK": 16, "MEMORY": 0.99},
        **{"BATCHES": 32, "MANY": 8},
    },
    "optim.plain_parameters": {"RATE": 0.003, "DECAY": 0.1},
    "weights.priors": {"SCALE": 0.1, "BIAS_VARIANCE": 0.5, "BIAS_START_VARIANCE": 0.01, "RECTIFIER_GAIN": 2.0},
    "bases.cosine": {"LENGTH": 1.0, "SMOOTHNESS": 0.0},
    "bases.inputs": {"EXPLAINED": 0.97, "POWER": 0.25},
    "bases.patch": {"EXPLAINED": 1.0, "POWER": -0.25, "IMAGES": 2000},
    "likelihoods.argmax": {"REGULARISER_VARIANCE": 0.1},
    "factors.numerics": {"COMPARISON_NOISE": 0.3},
    "likelihoods.regression": {"FIRST_NOISE": 0.01, "HOLD": 0.25, "RATE_FACTOR": 2.5, "SHALLOW": 2, "DEEP": 4, "STEEP": 4},
    "optim.schedule": {
        "FINAL": 0.4,
        "NO_SCHEDULE": 2.0,
        "FEW_STEPS": 2000,
        "NEAR_STEPS": 500,
        "LONGEST": 4.0,
        "NARROW": 64,
        "SHALLOWEST": 0.2,
    },
    "optim.soundness": {"FARTHEST": 1000000.0, "TOLERANCE": 1e-05},
    "layers.standardise": {"MEAN": 5.0, "SCALE": 30.0, "RATIO": 100.0, "FEWEST": 8},
    "likelihoods.base": {"MANY": 40},
    "likelihoods.tilted": {"NODES": 128, "DROP": 40.0},
    "optim.stores.annealing": {"END": 0.5, "GROWTH": 3},
    "optim.stores.averaged": {"RATE": 0.4, "TRUST": 16.0, "FARTHEST": 2.0, "TAIL": 0.125, "EVERY": 4},
    "inference.trace": {"GROWTH": 100000.0},
    "predictive.calibration": {"OCTAVES": {"variance_factor": (-2, 9), "temperature": (-3, 3)}, "FINEST": 0.0625, "DOUBT": 1.0},
    "predictive.announced": {"SHOWN": 6},
    "metrics.calibration": {"BINS": 15, "SMALLEST_BIN": 20},
    "metrics.smooth": {"LEAST": 1e-3, "POINTS": 200, "STEPS": 10, "GRID": 2000, "EMPTY": 1e-4},
    "metrics.detection": {"RECALL": 0.95},
    "metrics.mixture": {"ENTRIES": 2**22},
    "metrics.counts": {"NODES": 128, "TAIL": 1e-6},
    "evaluation.checks": {"TOLERANCE": 1e-4},
    "evaluation.measures": {"LEVELS": (0.5, 0.9, 0.95)},
    "evaluation.data": {"CHUNK": 500},
    "reporting.curves": {"BINS": 15, "FEWEST": 20, "RESAMPLES": 1000, "LEVEL": 0.95, "POINTS": 400},
    "reporting.class_sections": {"SURE": 0.95, "REFUSED": 0.1},
    "reporting.score_section": {"ALIKE": 2.0},
    "reporting.canvas": {"MOST_MODELS": 8},
    "reporting.pictures": {"LARGEST": 64, "BUDGET": 2_500_000},
    "reporting.examples": {"SHOWN": 12},
    "report": {
        "data": None,
        "path": "report.html",
        "outputs": None,
        "ood": None,
        "near": (),
        "train": None,
        "how": None,
        "samples": 16,
        "resamples": 100,
        "seed": 0,
        "title": "What it knows, and how well it knows it",
        "subtitle": "",
        "classes": None,
        "inputs": None,
        "networks": None,
        "histories": None,
    },
    "predictive.chunks": {"SHARE": 0.25, "LIVE": 4},
    "predictive.features": {"RIDGE": 1e-06},
    "predictive.linear": {"APART": 0.1},
    "predictive.ood": {"BODY": 0.9},
    "predictive.predict": {"DEFAULT": {"layers": "moments", "plain": "samples"}, "SAMPLES": 16},
    "predictive.result": {"DRAWS": 128},
    "predictive.samples": {"SMALL": 32768},
    "decide.abstain": {"LEVELS": 32},
    "decide.batch": {"CONFIGURATIONS": 1000},
    "decide.information": {"STEP": 0.5},
    "denoise.graph": {"GROWTH": 10},
    "denoise.stack": {"UPPER_WEIGHT_RATE": 0.1},
    "factors.held": {"HELD_MOST": 32},
    "likelihoods.Likelihood": {"automatic_power": 1.0, "automatic_variance_factor": 1.0},
    "likelihoods.Softmax": {"automatic_power": 64.0, "automatic_variance_factor": 4.0},
    "likelihoods.IntegratedSoftmax": {"automatic_power": 64.0, "automatic_variance_factor": 1.0},
    "likelihoods.OneHotRegression": {"automatic_power": 8.0, "automatic_variance_factor": 1.0},
    "likelihoods.Argmax": {"automatic_power": 16.0, "automatic_variance_factor": 1.0},
    "likelihoods.PairwiseArgmax": {"automatic_power": 16.0, "automatic_variance_factor": 1.0},
    "likelihoods.SquaredSoftmax": {"automatic_power": 1.0, "automatic_variance_factor": 1.0},
    "likelihoods.Regression": {"automatic_power": 16.0, "automatic_variance_factor": 8.0},
    "likelihoods.HeteroscedasticRegression": {"automatic_power": 1.0, "automatic_variance_factor": 1.0},
    "abstain": {"risk": 0.05, "how": None, "delta": 0.05},
    "select": {"how": None, "generator": None, "configurations": 1000},
    "Outcome": {
        "probabilities": None,
        "log_probabilities": None,
        "mean": None,
        "std": None,
        "mixture": None,
        "epistemic": None,
        "energy": None,
        "ood_score": None,
        "shape": None,
        "inputs": None,
        "ood": "made anew",
        "near": "frozenset()",
    },
    "Predictions": {
        "probabilities": None,
        "log_probabilities": None,
        "mean": None,
        "std": None,
        "mixture": None,
        "epistemic": None,
        "energy": None,
        "ood_score": None,
        "shape": None,
        "inputs": None,
    },
    "adapter": {"likelihood": None, "outputs": None, "how": None, "samples": 16},
    "conformal_intervals": {"level": 0.9},
    "conformal_sets": {"level": 0.9, "method": "lac"},
    "evaluate": {
        "likelihood": None,
        "outputs": None,
        "ood": None,
        "near": (),
        "train": None,
        "name": None,
        "how": None,
        "samples": 16,
        "resamples": 100,
        "seed": 0,
        "keep_inputs": False,
    },
    "score": {"resamples": 100, "seed": 0},
    "Argmax": {"noise_variance": 0.3, "regulariser_variance": 0.1, "power": None},
    "AveragedSites": {"momentum": 0.9, "trust_radius": 16.0, "tail": 0.125, "anneal": True},
    "BatchSites": {"device": None},
    "CosineBasis": {"length": 1.0, "smoothness": 0.0},
    "Damping": {"messages": 0.0, "weights": None, "dropout": 0.0, "undamped_first": False, "from_start": False},
    "FactorGraph": {
        "likelihood": None,
        "target": None,
        "observed": None,
        "learn": True,
        "approximation": "moments",
        "exchange": True,
        "builder": None,
    },
    "Filtering": {"forget": 0.0},
    "FixedBatches": {"seed": 0},
    "GBPAvgPool2d": {
        "stride": None,
        "padding": 0,
        "ceil_mode": False,
        "count_include_pad": True,
        "divisor_override": None,
    },
    "GBPConv2d": {
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
        "bias": True,
        "padding_mode": "zeros",
        "device": None,
        "dtype": None,
        "prior": None,
        "covariance": "shared",
    },
    "GBPConvTranspose2d": {
        "stride": 1,
        "padding": 0,
        "output_padding": 0,
        "groups": 1,
        "bias": True,
        "dilation": 1,
        "padding_mode": "zeros",
        "device": None,
        "dtype": None,
        "prior": None,
        "covariance": "shared",
    },
    "GBPLeakyReLU": {"negative_slope": 0.01, "inplace": False, "rule": "score_backward"},
    "GBPLinear": {
        "bias": True,
        "device": None,
        "dtype": None,
        "prior": None,
        "covariance": "shared",
    },
    "GBPMaxPool2d": {
        "stride": None,
        "padding": 0,
        "dilation": 1,
        "return_indices": False,
        "ceil_mode": False,
        "rule": "backward",
    },
    "GBPNoise": {"sigma": 0.0, "prior_sigma": None},
    "GBPReLU": {"inplace": False, "rule": "score_backward"},
    "GBPUpsample": {
        "size": None,
        "scale_factor": None,
        "mode": "nearest",
        "align_corners": None,
        "recompute_scale_factor": None,
    },
    "HeteroscedasticRegression": {"power": 1.0},
    "Inference": {
        "iterations": 1,
        "rate": None,
        "damping": 0.0,
        "schedule": "made anew",
        "tolerance": 0.0,
        "check": 8,
        "approximation": "moments",
        "exchange": True,
    },
    "IntegratedSoftmax": {"power": None},
    "Latent": {"sigma": 1.0, "known": None},
    "Likelihood": {"power": 1.0},
    "MessagePassing": {
        "num_data": None,
        "lr": None,
        "epochs": 8,
        "warmup": 0.2,
        "final": 0.4,
        "store": None,
        "accumulated": 1,
        "report_every": 50,
        "plain": None,
    },
    "OneHotRegression": {"noise_variance": 0.01, "power": None},
    "PairwiseArgmax": {"noise_variance": 0.3, "regulariser_variance": 0.1, "power": 1.0},
    "PatchBasis": {"stride": 1},
    "Regression": {"noise_variance": None, "power": None, "learn_noise": None},
    "Standardise": {"device": None, "dtype": None},
    "Softmax": {"power": None},
    "SquaredSoftmax": {"sigma": 0.01, "power": 1.0},
    "OODScore": {"how": None, "samples": 16},
    "Trainer": {
        "epochs": 8,
        "lr": None,
        "store": None,
        "inference": None,
        "patience": None,
        "learn_priors": False,
        "progress": True,
        "plain": None,
        "sweep": None,
        "num_data": None,
    },
    "configure_optimizers": {"plain": None},
    "calibrate": {"how": None, "samples": 16, "generator": None},
    "from_torch": {
        "moments": False,
        "inplace": False,
        "which": None,
        "fresh": False,
        "as_prior": False,
        "inputs": None,
        "prior": None,
        "covariance": "shared",
    },
    "advance": {"optimizer": None, "drift": 0.0, "strength": 1.0, "plain": None, "num_data": None},
    "widen_head": {"layer": None},
    "adapters": {"rank": 8, "which": None, "inplace": False, "prior": None, "covariance": "shared"},
    "last_layer": {"layer": None, "inplace": False, "fresh": False, "as_prior": False, "prior": None, "covariance": "shared"},
    "Prior": {
        "variance": "offset_scaled",
        "start_deviation": None,
        "scale": 0.1,
        "mean": 0.0,
        "start_variance": None,
        "bias": 0.5,
    },
    "LaplacePrior": {
        "variance": "offset_scaled",
        "start_deviation": None,
        "scale": 0.1,
        "mean": 0.0,
        "start_variance": None,
        "bias": 0.5,
    },
    "moments": {"linear": False},
    "renew_statistics": {"batches": 100},
    "sample": {"generator": None},
    "convert.modes": {"RANK": 8},
    "convert.start": {"NOISE": 1e-3},
    "convert.statistics": {"BATCHES": 100},
    "predict": {"how": None, "samples": 16, "generator": None, "chunk": None, "vectorise": None},
    "thesis_iterations": {"epochs": 18},
    "Denoiser": {"deviation": 0.2, "robust": "Tukey(threshold=0.2)", "joint": False},
    "PairwiseSmoother": {
        "deviation": 0.2,
        "robust": "Tukey(threshold=0.14)",
        "smoothness": "Smoothness(deviation=1.3, robust=Tukey(threshold=0.35), repeats=2)",
        "joint": False,
    },
    "Reconstruction": {
        "kernel_size": 3,
        "robust": "Quadratic()",
        "slope": 1.0,
        "bias_deviation": 0.3,
        "activation_deviation": 0.5,
        "start_deviation": 0.1,
        "weight_rate": 1.0,
        "initial_message": False,
    },
    "Smoothness": {"robust": "Quadratic()", "repeats": 1},
    "Upsampling": {"factor": 2},
    "five_layers": {"channels": 3},
    "BlockLocal": {"local_loss": "variational", "end_loss": "cross_entropy"},
    "FeedbackLoss": {"alpha_variance": 1.0, "beta_variance": 1.0, "activity": "channels"},
    "KeptBytes": {"weights": ()},
    "LocalLoss": {"weights": None},
    "RidgeFeedback": {"decay": 0.99, "ridge": 1.0},
    "Stage": {"scheduler": None},
    "conv_head": {"widest": 256, "first": 8},
    "fine_head": {"widest": 4096},
    "heads_only": {"head": "conv_head"},
    "linear_head": {"grid": 2},
    "similarity_matching": {"head": "fine_head", "weight": 0.99},
    "variational": {
        "head": "conv_head",
        "feedback": "RidgeFeedback",
        "weight": 0.03,
        "alpha_variance": 1.0,
        "beta_variance": 1.0,
    },
}


@pytest.mark.parametrize("place", TABLE)
def test_defaults_are_the_pinned_ones(place):
    assert pinned(place, TABLE[place]) == TABLE[place]


@pytest.mark.parametrize(("store", "rate"), [("AveragedSites", 0.4), ("BatchSites", 1.0), ("Filtering", 1.0)])
def test_stores_choose_the_pinned_rates(store, rate):
    assert getattr(torch_gbp, store)().default_rate(depth=1.0) == rate


def inherited(name):
    """Whether a class takes its constructor from another public class, whose defaults are in the table."""
    found = getattr(torch_gbp, name, None)
    bases = found.__mro__[1:] if isinstance(found, type) else ()
    return any(one.__name__ in TABLE and found.__init__ is one.__init__ for one in bases)


def test_every_public_name_with_defaults_is_in_the_table():
    assert [name for name in public() if defaults(name) and name not in TABLE and not inherited(name)] == []
