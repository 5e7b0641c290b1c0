"""What a study asks for, worked out before anything runs: networks that cannot be built, subsets and removals that
change nothing, trajectories without a density, and more jobs or memory than any machine has.

Each rule takes a config that its schema allows, and gives the dotted key and message of what is wrong, else None.
"""

import math
from itertools import accumulate, pairwise
from operator import mul
from typing import Any

from attribution.workflow import datasets, registry

JOBS = 20_000  # of one study: Snakemake plans some 150 in a second
BYTES = 1 << 40  # that one file may hold, a terabyte
WHOLE = 8192  # rows of a matrix that is decomposed whole, as curvature/ggn.py and curvature/woodbury.py have it
LATENT = 4  # channels of a latent
SHRINKS = {"sd2_autoencoder": 8, "tiny_autoencoder": 4}  # the side of an image over that of its latent
Problem = tuple[str, str] | None
FEWER = {  # what makes a study of many jobs -> how there are fewer of them
    "design.subsets": "lower it, or raise design.cohort",
    "gradients.shard": "raise it",
    "ensemble.models": "lower it",
    "unlearning.cohort": "raise it",
    "removal.percents": "list fewer",
    "contributors.coalitions": "lower it, or raise contributors.cohort",
    "methods": "list fewer",
}


def unet(config: dict[str, Any]) -> Problem:
    """A UNet halves the side from level to level and doubles it again, so it must divide; attention has whole heads."""
    network = config["denoiser"]
    if network["kind"] != "unet":
        return None
    channels, head = network["block_out_channels"], network["attention_head_dim"]
    halved, sides = 2 ** (len(channels) - 1), _sides(config["data"])
    if any(side % halved for side in sides):
        size = "x".join(map(str, sides))
        most = min((side & -side).bit_length() for side in sides)
        message = f"{len(channels)} levels halve the side {len(channels) - 1} times, and {size} is no multiple of"
        return "denoiser.block_out_channels", f"{message} {halved}; write at most {most} levels"
    if channels[0] // 2 <= network.get("freq_shift", 0):
        return (
            "denoiser.block_out_channels",
            f"{channels[0]} channels hold no frequency of the timestep; write 4 or more",
        )
    down, up = network["down_block_types"], network["up_block_types"][::-1]
    attended = [c for c, *kinds in zip(channels, down, up, strict=True) if any("Attn" in kind for kind in kinds)]
    for count in (*attended, channels[-1]):  # the middle of the network attends too
        if head is not None and count % head:
            return (
                "denoiser.attention_head_dim",
                f"{head} does not divide the {count} channels of a level with attention",
            )
    return None


def subsets(config: dict[str, Any]) -> Problem:
    """Subsets leave something out, hold something, and differ: rank correlations are over them."""
    design, train = config["design"], config["data"]["train"]
    size = round(design["fraction"] * train)
    said = f"{design['fraction']} of data.train {train} is {size} examples"
    if not 0 < size < train:
        return "design.fraction", f"{said}, {'all' if size else 'none'} of them; {'lower' if size else 'raise'} it"
    different = math.comb(train, min(size, train - size, 20))  # at least; whole up to 40 examples
    if different < design["subsets"]:
        return "design.fraction", f"{said}, {different} different subsets for design.subsets {design['subsets']}"
    return None


def removals(config: dict[str, Any]) -> Problem:
    """A removal takes something away, and leaves a batch."""
    train, batch = config["data"]["train"], config["training"]["batch"]
    for percent in config["removal"]["percents"]:
        count = round(percent / 100 * train)
        said = f"{percent} percent of data.train {train} is {count} examples"
        if not count:
            return "removal.percents", f"{said}: nothing would be removed; raise it to {50 // train + 1} or more"
        if train - count < batch:
            return "removal.percents", f"{said}, which leaves fewer than training.batch ({batch}); lower it"
    return None


def schedule(config: dict[str, Any]) -> Problem:
    """The last noise level leaves a trace of the image: the sampler divides by it."""
    if config["diffusion"]["beta_schedule"] != "squaredcos_cap_v2" and (left := _abar(config["diffusion"])[-1]) < 1e-12:
        return "diffusion.beta_end", f"the last timestep holds {left:.1g} of the image, less than 1e-12; lower it"
    return None


def trajectories(config: dict[str, Any]) -> Problem:
    """The density of a trajectory is over the sampler's steps whose noise is above sampling.floor (DDIM's sigma)."""
    sampling = config["sampling"]
    named = [*config["measurement"]["quantities"], *(one.get("measurement") for one in config["methods"].values())]
    if "trajectory" not in named:
        return None
    drop = "or measure no trajectory, which has no density so"
    if not sampling["eta"]:
        return "sampling.eta", f"0.0 samples without noise; raise it, {drop}"
    stride, abar = config["diffusion"]["timesteps"] // sampling["steps"], _abar(config["diffusion"])
    kept = [*abar[: stride * sampling["steps"] : stride]]  # by increasing noise
    largest = sampling["eta"] * max((((1 - b) / (1 - a) * (1 - a / b)) ** 0.5 for b, a in pairwise(kept)), default=0.0)
    if largest <= sampling["floor"]:
        key, do = ("sampling.steps", "raise") if sampling["steps"] == 1 else ("sampling.floor", "lower")
        said = f"no step has noise above sampling.floor {sampling['floor']} (at most {largest:.2g})"
        return key, f"{sampling[key.partition('.')[2]]}: {said}; {do} it, {drop}"
    return None


def whole(config: dict[str, Any]) -> Problem:
    """Methods that decompose a whole matrix, of all parameters or of all sampled rows, are for small ones."""
    for name, settings in config["methods"].items():
        method, train = registry.method(name).name, config["data"]["train"]
        if method == "full_ggn" and (count := _parameters(config)) > WHOLE:
            return f"methods.{name}", f"decomposes a matrix of {count} parameters, more than {WHOLE}; drop it"
        if method == "sampled_ggn":
            rows = settings["draws"] * train * (_pixels(config["data"]) if settings["fisher"] == "type2" else 1)
            if rows > WHOLE:
                said = f"{settings['draws']} of data.train {train} are {rows} vectors, more than {WHOLE}"
                return f"methods.{name}.draws", f"{said} that are decomposed at once; lower it, or drop {name}"
    return None


def planned(config: dict[str, Any]) -> Problem:
    """Snakemake holds every job of a study, and takes minutes for what nobody would wait for."""
    found = jobs(config)
    total, key = sum(found.values()), max(found, key=found.get)
    if total <= JOBS:
        return None
    return key, f"the study would be {total} jobs, more than {JOBS}, and {found[key]} of them by this; {FEWER[key]}"


def memory(config: dict[str, Any]) -> Problem:
    """The models of one file, in floats of 4 bytes with their averages, and the gradients of one."""
    parameters, design, gradients = _parameters(config), config["design"], config["gradients"]
    held = {
        "denoiser.width" if config["denoiser"]["kind"] == "mlp" else "denoiser.block_out_channels": 1,
        "ensemble.models": config["ensemble"]["models"],
        "design.cohort": min(design["cohort"], design["subsets"]),
        "removal.replicates": 3 * config["removal"]["queries"] * config["removal"]["replicates"],
    }
    if choice := config.get("unlearning"):
        held["unlearning.cohort"] = min(choice["cohort"], sum(config["queries"].values()))
    if choice := config.get("counterfactual"):
        held["counterfactual.leave.replicates"] = choice["leave"]["queries"] * choice["leave"]["replicates"]
    if choice := config.get("ablation"):
        held["ablation.members"] = choice["members"]
        held["ablation.retrain.replicates"] = choice["retrain"]["units"] * choice["retrain"]["replicates"]
    if choice := config.get("contributors"):
        held["contributors.cohort"] = choice["cohort"]
    for key, count in held.items():
        if (size := 8 * count * parameters) > BYTES:
            said = f"{count} models of {parameters} parameters or more" if count > 1 else f"{parameters} parameters"
            return key, f"{said} take {size >> 30} GiB, more than {BYTES >> 30} in one file; lower it"
    rows = min(gradients["shard"], config["data"]["train"])
    if (size := rows * parameters * gradients["bits"] // 8) > BYTES:
        said = f"gradients of {rows} examples by {parameters} parameters or more take {size >> 30} GiB"
        return "gradients.shard", f"{said}, more than {BYTES >> 30} in one file; lower it"
    return None


def jobs(config: dict[str, Any]) -> dict[str, int]:
    """About how many jobs a study is, by the keys that make them many; of the order of Snakemake's own count."""
    design, shards = config["design"], _cuts(config["data"]["train"], config["gradients"]["shard"])
    methods, removal = list(config["methods"].values()), config["removal"]
    features = {one["feature"] for one in methods if "feature" in one} | {"loss"}
    curvatures = {one["curvature"] for one in methods if "curvature" in one}
    averaged = {one["of"] for name, one in config["methods"].items() if registry.method(name).reads == "seeds"}
    models = config["ensemble"]["models"] if averaged else 1
    cohorts = design["replicates"] * sum(_cuts(design[key], design["cohort"]) for key in ("subsets", "control_subsets"))
    found = {
        "design.subsets": 3 * cohorts,  # drawn, trained, measured
        "gradients.shard": shards * models * (len(features) + 3 * len(curvatures)),
        "ensemble.models": 3 * models * len(averaged),
        "removal.percents": 3 * len(removal["methods"]) * len(removal["percents"]),
        "methods": 3 * len(methods),
    }
    if choice := config.get("unlearning"):
        found["unlearning.cohort"] = len(choice["kinds"]) * _cuts(sum(config["queries"].values()), choice["cohort"])
    if choice := config.get("contributors"):
        judged = choice["judge"]["coalitions"]
        tuned = 1 + 2 * choice["count"] + judged + choice["coalitions"]
        found["contributors.coalitions"] = 4 * sum(_cuts(count, choice["cohort"]) for count in (judged, tuned))
    return found


def _cuts(count: int, size: int) -> int:
    return -(-count // size)


def _sides(data: dict[str, Any]) -> list[int]:
    """Height and width of what models are trained on; none where only the images themselves would tell."""
    sides = (
        datasets.facts(data["dataset"])["size"] if "dataset" in data else [data["size"]] * 2 if "size" in data else []
    )
    return [side // SHRINKS.get(data.get("autoencoder"), 1) for side in sides]


def _abar(diffusion: dict[str, Any]) -> list[float]:
    """abar_t [T] of the schedule, as diffusion/noise.py has it."""
    steps, name = diffusion["timesteps"], diffusion["beta_schedule"]
    if name == "squaredcos_cap_v2":
        left = [math.cos((k / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(steps + 1)]
        return list(accumulate((1 - min(1 - b / a, 0.999) for a, b in pairwise(left)), mul))
    power = 2 if name == "scaled_linear" else 1
    first, last = diffusion["beta_start"] ** (1 / power), diffusion["beta_end"] ** (1 / power)
    return list(accumulate((1 - (first + (last - first) * k / (steps - 1)) ** power for k in range(steps)), mul))


def _pixels(data: dict[str, Any]) -> int:
    """Numbers of what models are trained on, at least: 0 where only the images themselves would tell."""
    channels = datasets.facts(data["dataset"])["channels"] if "dataset" in data else 1 + 2 * (data.get("mode") == "rgb")
    return math.prod(_sides(data) or [0]) * (LATENT if "autoencoder" in data else channels)


def _parameters(config: dict[str, Any]) -> int:
    """Of the denoiser, at least: all of an MLP's where its images' size is known, a UNet's 3 x 3 convolutions within a
    level.
    """
    network, pixels = config["denoiser"], _pixels(config["data"])
    if network["kind"] == "unet":
        blocks = 2 * network["layers_per_block"] + 1
        return sum(2 * 9 * channels**2 * blocks for channels in network["block_out_channels"])
    width, time = network["width"], network["time_features"]
    hidden = (network["depth"] - 1) * (width + time + 1) * width
    return (pixels + time + 1) * width + hidden + (width + time + 1) * pixels + (time + 1) * pixels


RULES = (unet, subsets, removals, schedule, trajectories, whole, planned, memory)
