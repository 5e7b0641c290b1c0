"""A new study: config/<name>.yaml with what a study cannot do without, and as comments what is worth changing first."""

import io
from argparse import Namespace
from itertools import islice
from pathlib import Path

from attribution.core.store import save_text
from attribution.errors import StudyError
from attribution.workflow import config as configs
from attribution.workflow import image_files, studies

SCHEMA = Path("workflow", "schemas", "study.schema.yaml")
TRAIN, HELDOUT = 500, 20  # examples of a study that takes minutes; the default of queries.heldout
LOOKED_AT = 200  # images whose sizes are compared
LARGE = 64  # pixels of a side that the default denoiser, a multilayer perceptron, should not meet
SIDE = 32

TEXT = """\
# {name}: write here in a line what the study asks.
#   snakemake -n {name}                       what would run
#   snakemake --cores all {name}              run it: results/{name}/summary/ has numbers, tables and figures
#   python -m attribution audit {name}        where the numbers come from
# A key that is left out has its default; config/README.md lists them all. Worth a look first, with their defaults:
#   denoiser: {{kind: mlp, width: 128}}       or {{kind: unet}} for images of 16 x 16 pixels and more
#   training: {{steps: 2000}}                 more where the loss in results/{name}/models/full/log.jsonl still falls
#   design: {{subsets: 32, replicates: 2}}    retrained models: more of them narrow the intervals
#   methods: {{random: {{}}, ...}}              which methods are compared; your own take the place of the default ones
title: {name}
"""


def write(root: Path, given: Namespace) -> str:
    """Write the config of the study `given.name`, of the folder or archive `given.images` if any; what to do next.

    Raises StudyError, with the file removed again, where the name, the images or the study is refused.
    """
    path, listed = root / "config" / f"{given.name}.yaml", configs.read_yaml(root / "config/config.yaml")
    studies.check_name(root, path, listed["groups"])
    if path.exists():
        raise StudyError(f"{path}: there already; choose another name, or edit it")
    about, data = _folder(Path(given.images)) if given.images else ("", f"data: {{dataset: digits, train: {TRAIN}}}\n")
    save_text(path, TEXT.format(name=given.name) + data)
    try:
        configs.load(path, root / SCHEMA)
    except StudyError:
        path.unlink()
        raise
    steps = f"snakemake -n {given.name}, then snakemake --cores all {given.name}"
    return f"{path.relative_to(root)}: written{about}\nnext: {steps}"


def _folder(source: Path) -> tuple[str, str]:
    """What a folder holds, in words, and the sections data and queries that suit it."""
    found = image_files.summary(source)
    images = found["train"] + found["test"]
    held = min(HELDOUT, found["test"] or images // 5)
    train = min(TRAIN, found["train"] if found["test"] else images - held)
    shapes = _shapes(source)
    side = f", size: {SIDE}" if len(shapes) > 1 or max(map(max, shapes)) > LARGE else ""
    text = f"data: {{folder: {_quoted(source)}, train: {train}{side}}}\n"
    text += f"queries: {{heldout: {held}}}\n" if held < HELDOUT else ""
    sizes = ", ".join(f"{width} x {height}" for width, height in sorted(shapes)[:3])
    return f"; {source} holds {images} images in {found['classes']} classes, of {sizes} pixels", text


def _shapes(source: Path) -> set[tuple[int, int]]:
    """Width and height of the first images; the job that reads them all says what is wrong with any."""
    from PIL import Image

    places = image_files.arranged(source, [name for name, _ in image_files.walk(source)])
    chosen, shapes = set(islice(places, LOOKED_AT)), set()
    for name, read in image_files.walk(source):
        if name in chosen:
            try:
                with Image.open(io.BytesIO(read())) as image:
                    shapes.add(image.size)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise StudyError(f"{source}: {name}: no image that can be read") from error
    return shapes


def _quoted(source: Path) -> str:
    return "'" + str(source).replace("'", "''") + "'"
