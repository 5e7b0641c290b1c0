"""ArtBench-10: 60,000 paintings of ten styles, 256 x 256, from the official archive, a folder or Parquet files.

Source: Liao, Li, Liu, Keutzer, "The ArtBench dataset: benchmarking generative models with artworks", 2022; its archive
artbench-10-imagefolder-split.tar. Images stay bytes: as float32 they would take 47 GB. Models see latents of them.
"""

from pathlib import Path

from attribution.data import parquet
from attribution.data.dataset import Arrays
from attribution.data.image_folder import read

DATASETS = {
    "artbench": {
        "images": 60000,
        "channels": 3,
        "size": [256, 256],
        "levels": 256,
        "licence": "none stated for the images; cite Liao et al. 2022",
        "source": "ArtBench-10, imagefolder with split (Liao et al. 2022)",
        "fetched": {
            "path": "raw/artbench-10-imagefolder-split.tar",
            "variable": "ARTBENCH_SOURCE",
            "what": "the archive",
        },
        "loader": "artbench",
    },
    "artbench_tiny": {
        "images": 100,
        "channels": 3,
        "size": [32, 32],
        "levels": 256,
        "licence": "none stated for the images; cite Liao et al. 2022",
        "source": "ArtBench-10, imagefolder with split (Liao et al. 2022)",
        "fetched": {"path": "raw/tiny/artbench-10-imagefolder-split.tar", "synthetic": "artbench"},
        "loader": "artbench",
    },
}


def artbench(source: Path) -> Arrays:
    """All paintings: images [N, 3, H, W] uint8, the training part first, styles numbered in alphabetical order.

    Raises StudyError naming the source where it is truncated or of another form.
    """
    packed = source.is_dir() and parquet.files(source)
    return parquet.read(source, "rgb") if packed else read(source, "rgb").arrays
