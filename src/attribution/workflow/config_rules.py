"""Rules between the keys of a config, which a schema cannot hold: sizes that must fit into each other."""

from collections.abc import Iterable
from itertools import pairwise
from math import comb
from typing import Any

from attribution.errors import StudyError
from attribution.workflow import datasets, image_files, limits

LABELLED = ("ablation", "counterfactual", "contributors")  # sections that classify images, or group them by class


def broken_rule(config: dict[str, Any]) -> tuple[str, str] | None:
    """Dotted key and message of the first rule that a config (valid by its schema) breaks, else None."""
    for rule in RULES:
        if problem := rule(config):
            return problem
    return None


def _design(config: dict[str, Any]) -> tuple[str, str] | None:
    design = config["design"]
    if design["control_subsets"] > design["subsets"]:
        return "design.control_subsets", _more(design["control_subsets"], "design.subsets", design["subsets"])
    return None


def _data(config: dict[str, Any]) -> tuple[str, str] | None:
    data = config["data"]
    if "dataset" in data and "folder" in data:
        return "data.folder", "beside data.dataset; keep one of them"
    if "dataset" not in data and "folder" not in data:
        names = ", ".join(datasets.declared())
        return "data.dataset", f"missing; name a data set ({names}), or a folder of images as data.folder"
    if "dataset" in data:
        alone = next((key for key in ("mode", "size") if key in data), None)
        return (f"data.{alone}", "is of a folder's images alone; drop it") if alone else None
    if "autoencoder" in data:
        return "data.autoencoder", "goes with a data set, not with a folder; drop it"
    try:
        found = image_files.summary(data["folder"])
    except StudyError as error:
        return "data.folder", str(error)
    asked = [section for section in LABELLED if section in config]
    if asked and found["classes"] < 2:
        return asked[0], f"needs classes of images, and {data['folder']} has none; drop it, or write <class>/<file>"
    return None


def _held(data: dict[str, Any]) -> tuple[int, int, str]:
    """How many images may be trained on, how many there are in all, and of what."""
    if "folder" in data:
        found = image_files.summary(data["folder"])
        return found["train"], found["train"] + found["test"], data["folder"]
    images = datasets.facts(data["dataset"])["images"]
    return images, images, data["dataset"]


def _queries(config: dict[str, Any]) -> tuple[str, str] | None:
    train, queries = config["data"]["train"], config["queries"]
    trainable, images, name = _held(config["data"])
    if queries["training"] > train:
        return "queries.training", _more(queries["training"], "data.train", train)
    if train > trainable:
        return "data.train", _more(train, f"the training images of {name}", trainable)
    if train + queries["heldout"] > images:
        both = f"{train} with queries.heldout {queries['heldout']}"
        return "data.train", f"{both} is more than the {images} images of {name}; lower one of them"
    if images > trainable and queries["heldout"] > images - trainable:
        return "queries.heldout", _more(queries["heldout"], f"the test images of {name}", images - trainable)
    return None


def _diffusion(config: dict[str, Any]) -> tuple[str, str] | None:
    diffusion, steps = config["diffusion"], config["sampling"]["steps"]
    if diffusion["beta_start"] > diffusion["beta_end"]:
        return "diffusion.beta_start", _more(diffusion["beta_start"], "diffusion.beta_end", diffusion["beta_end"])
    if steps > diffusion["timesteps"]:
        return "sampling.steps", _more(steps, "diffusion.timesteps", diffusion["timesteps"])
    return None


def _latents(config: dict[str, Any]) -> tuple[str, str] | None:
    if "autoencoder" not in config["data"]:
        large = config["data"].get("dataset", "").startswith("artbench")
        return ("data.autoencoder", "missing; ArtBench is attributed in latents") if large else None
    if config["sampling"]["clip"]:
        return "sampling.clip", "true, but latents are not bounded by 1 (data.autoencoder); write false"
    measured = [settings.get("measurement") for settings in config["methods"].values()]
    if "elbo" in (*config["measurement"]["quantities"], *measured):
        return "measurement.quantities", "elbo is of pixels with a known number of levels, not of latents; drop it"
    return None


def _training(config: dict[str, Any]) -> tuple[str, str] | None:
    training, fraction, train = config["training"], config["design"]["fraction"], config["data"]["train"]
    if fraction * train < training["batch"] - 1e-9:  # 0.29 * 100 is 28.999999999999996
        size = f"the {fraction * train:g} examples of a subset (design.fraction {fraction} of data.train {train})"
        return "training.batch", f"{training['batch']} is more than {size}; lower it or raise one of them"
    if training["warmup_steps"] > training["steps"]:
        return "training.warmup_steps", _more(training["warmup_steps"], "training.steps", training["steps"])
    if training["checkpoint_every"] % training["log_every"]:
        return "training.checkpoint_every", "must be a multiple of training.log_every, so that a resumed log is whole"
    return None


def _denoiser(config: dict[str, Any]) -> tuple[str, str] | None:
    denoiser = config["denoiser"]
    if denoiser["kind"] != "unet":
        return None
    channels, groups = denoiser["block_out_channels"], denoiser["norm_num_groups"]
    for key in ("down_block_types", "up_block_types"):
        if len(denoiser[key]) != len(channels):
            count = f"{len(denoiser[key])} blocks for the {len(channels)} entries of denoiser.block_out_channels"
            return f"denoiser.{key}", f"{count}; write one block for each entry"
    if any(channel % groups for channel in channels):
        return (
            "denoiser.norm_num_groups",
            f"{groups} does not divide each of denoiser.block_out_channels {channels}",
        )
    return None


def _dampings(config: dict[str, Any]) -> tuple[str, str] | None:
    for method, settings in config["methods"].items():
        if "dampings" in settings and settings["damping"] not in settings["dampings"]:
            message = f"{settings['damping']} is not one of its dampings {settings['dampings']}; add it there"
            return f"methods.{method}.damping", message
    return None


def _methods(config: dict[str, Any]) -> tuple[str, str] | None:
    kinds, timesteps = config["curvature"]["kinds"], config["diffusion"]["timesteps"]
    for method, settings in config["methods"].items():
        curvature, measured = settings.get("curvature"), settings.get("measurement", "")
        if curvature is not None and curvature not in kinds:
            return f"methods.{method}.curvature", f"{curvature!r} is none of curvature.kinds ({', '.join(kinds)})"
        if problem := _timestep(measured, timesteps):
            return f"methods.{method}.measurement", problem
        if "of" in settings and not config["methods"].get(settings["of"], {}).get("measurement"):
            return f"methods.{method}.of", f"{settings['of']!r} is no method of the study that works on gradients"
    return None


def _quantities(config: dict[str, Any]) -> tuple[str, str] | None:
    for quantity in config["measurement"]["quantities"]:
        if problem := _timestep(quantity, config["diffusion"]["timesteps"]):
            return "measurement.quantities", problem
    return None


def _timestep(quantity: str, timesteps: int) -> str | None:
    """What is wrong with a loss_at_<t> that names a timestep which the chain does not have."""
    number = quantity.removeprefix("loss_at_")
    if number == quantity or int(number) < timesteps:
        return None
    return f"{quantity}: the timesteps are 0 to {timesteps - 1}"


def _checkpoints(config: dict[str, Any]) -> tuple[str, str] | None:
    count, steps = config["checkpoints"]["count"], config["training"]["steps"]
    return ("checkpoints.count", _more(count, "training.steps", steps)) if count > steps else None


def _compare(config: dict[str, Any]) -> tuple[str, str] | None:
    for pair in config["evaluation"]["compare"]:
        if absent := _absent(config, pair):
            return "evaluation.compare", absent
    return None


def _draws(config: dict[str, Any]) -> tuple[str, str] | None:
    if "draws_sweep" not in config:
        return None
    swept = ("gradient_dot", "trak", "ekfac")
    if absent := _absent(config, swept):
        return "draws_sweep", f"sweeps {', '.join(swept)}, but {absent}"
    sweep, most = config["draws_sweep"]["draws"], config["gradients"]["draws"]
    if any(after <= before for before, after in pairwise(sweep)):
        return "draws_sweep.draws", f"{sweep} must increase from each entry to the next"
    if sweep[-1] > most:
        return "draws_sweep.draws", _more(sweep[-1], "gradients.draws", most)
    return None


def _removal(config: dict[str, Any]) -> tuple[str, str] | None:
    removal = config["removal"]
    if absent := _absent(config, removal["methods"]):
        return "removal.methods", f"{absent} ({', '.join(config['methods'])})"
    fewest = min(config["queries"].values())
    if removal["queries"] > fewest:
        return "removal.queries", _more(removal["queries"], "the queries of a kind", fewest)
    return None


def _ablation(config: dict[str, Any]) -> tuple[str, str] | None:
    ablation, train = config.get("ablation"), config["data"]["train"]
    if ablation is None:
        needs = "needs the section ablation (encoded ensembles); add it, or drop the method"
        return ("methods.ablation", needs) if "ablation" in config["methods"] else None
    sizes, (_, images, name) = ablation["sizes"], _held(config["data"])
    if any(after <= before for before, after in pairwise(sizes)):
        return "ablation.sizes", f"{sizes} must increase from each entry to the next"
    if train not in sizes or "ablation" not in config["methods"]:
        return "ablation.sizes", f"must hold data.train ({train}), and methods the method ablation: it is judged there"
    if sizes[-1] + max(ablation["quality"], config["queries"]["heldout"]) > images:
        kept = f"{sizes[-1]}, and ablation.quality or queries.heldout held out"
        return "ablation.sizes", f"{kept}, are more than the {images} images of {name}; lower one"
    if ablation["quality"] > train:
        return "ablation.quality", _more(ablation["quality"], "data.train", train)
    if ablation["steps"] > config["diffusion"]["timesteps"]:
        return "ablation.steps", _more(ablation["steps"], "diffusion.timesteps", config["diffusion"]["timesteps"])
    if ablation["retrain"]["size"] not in sizes:
        return "ablation.retrain.size", f"{ablation['retrain']['size']} is none of ablation.sizes {sizes}"
    if ablation["top"] > sizes[0]:
        return "ablation.top", _more(ablation["top"], "the smallest of ablation.sizes", sizes[0])
    if (units := ablation["retrain"]["units"]) > (size := ablation["retrain"]["size"]):
        return "ablation.retrain.units", _more(units, "ablation.retrain.size", size)
    return None


def _unlearning(config: dict[str, Any]) -> tuple[str, str] | None:
    section = config.get("unlearning", {"banks": {}, "kinds": {}})
    for method, settings in config["methods"].items():
        for key, place in (("unlearned", "kinds"), ("bank", "banks")):
            named = settings.get(key)
            if named is not None and named not in section[place]:
                known = ", ".join(section[place]) or "there are none"
                return f"methods.{method}.{key}", f"{named!r} is none of unlearning.{place} ({known})"
    kinds, curvature = section["kinds"], config["curvature"]["kinds"]
    for kind, settings in kinds.items():
        if kind.startswith("mirrored") and settings["batch"] > config["data"]["train"]:
            return f"unlearning.kinds.{kind}.batch", _more(settings["batch"], "data.train", config["data"]["train"])
        if settings.get("inverse", "diagonal") not in ("diagonal", *curvature):
            return (
                f"unlearning.kinds.{kind}.inverse",
                f"{settings['inverse']!r} is neither diagonal nor one of curvature.kinds ({', '.join(curvature)})",
            )
    prefilter, methods = section.get("prefilter"), config["methods"]
    if prefilter is None:
        return None
    if absent := _absent(config, (prefilter["method"], *prefilter["by"])):
        return "unlearning.prefilter", absent
    if methods[prefilter["method"]].get("score") != "skew":
        return "unlearning.prefilter.method", f"{prefilter['method']!r} is not scored by a skew"
    if max(prefilter["candidates"]) + prefilter["sample"] > config["data"]["train"]:
        size = f"{max(prefilter['candidates'])} with unlearning.prefilter.sample {prefilter['sample']}"
        return "unlearning.prefilter.candidates", _more(size, "data.train", config["data"]["train"])
    if prefilter["top"] > config["data"]["train"]:
        return "unlearning.prefilter.top", _more(prefilter["top"], "data.train", config["data"]["train"])
    return None


def _combined(config: dict[str, Any]) -> tuple[str, str] | None:
    for method, settings in config["methods"].items():
        for name in settings.get("members", []):
            if name not in config["methods"] or "members" in config["methods"][name]:
                return f"methods.{method}.members", f"{name!r} is no method of the study that is not itself combined"
    return None


def _counterfactual(config: dict[str, Any]) -> tuple[str, str] | None:
    choice = config.get("counterfactual")
    if choice is None:
        return None
    if absent := _absent(config, choice["methods"]):
        return "counterfactual.methods", absent
    joint, generated, train = choice["joint"], config["queries"]["generated"], config["data"]["train"]
    for key, count in (("leave.queries", choice["leave"]["queries"]), ("joint.queries", joint["queries"])):
        if count > generated:
            return f"counterfactual.{key}", _more(count, "queries.generated", generated)
    if joint["queries"] + joint["controls"] > generated:
        both = f"{joint['controls']} with joint.queries {joint['queries']}"
        return "counterfactual.joint.controls", _more(both, "queries.generated", generated)
    for key, most in (("leave", choice["leave"]["count"]), ("joint", joint["count"] * joint["queries"])):
        left = train - config["training"]["batch"]
        if most > left:
            return f"counterfactual.{key}.count", _more(most, "what leaves a batch of data.train", left)
    return None


def _contributors(config: dict[str, Any]) -> tuple[str, str] | None:
    choice = config.get("contributors")
    if choice is None:
        return None
    count, judge = choice["count"], choice["judge"]
    if absent := _absent(config, choice["methods"]):
        return "contributors.methods", absent
    if count > config["data"]["train"]:
        return "contributors.count", _more(count, "data.train", config["data"]["train"])
    size = int(judge["fraction"] * count)
    if not size:
        return "contributors.judge.fraction", f"{judge['fraction']} of {count} contributors is none; raise it"
    if judge["coalitions"] > (most := comb(count, size)):
        return "contributors.judge.coalitions", _more(judge["coalitions"], f"the coalitions of {size} of {count}", most)
    if choice["steps"] > config["diffusion"]["timesteps"]:
        return "contributors.steps", _more(choice["steps"], "diffusion.timesteps", config["diffusion"]["timesteps"])
    return None


def _absent(config: dict[str, Any], names: Iterable[str]) -> str:
    """Which of the names are no methods of the study, as a refusal; empty where all are."""
    absent = [name for name in names if name not in config["methods"]]
    return f"{', '.join(absent)} not among the study's methods" if absent else ""


def _more(value: float | str, key: str, limit: float) -> str:
    return f"{value} is more than {key} ({limit}); lower it to at most {limit}"


RULES = (
    _data,
    _design,
    _queries,
    _diffusion,
    _latents,
    _training,
    _denoiser,
    _dampings,
    _methods,
    _quantities,
    _checkpoints,
    _draws,
    _removal,
    _compare,
    _ablation,
    _unlearning,
    _counterfactual,
    _contributors,
    _combined,
    *limits.RULES,
)
