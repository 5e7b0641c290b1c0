"""ArtBench-10: 60,000 paintings of ten styles, 256 x 256, from the official archive, a folder or Parquet files.

Source: Liao, Li, Liu, Keutzer, "The ArtBench dataset: benchmarking generative models with artworks", 2022; its archive
artbench-10-imagefolder-split.tar. Images stay bytes: as float32 they would take 47 GB. Models see latents of them.
"""

from pathlib import Path

from attribution.data import parquet
from attribution.data.dataset import Dataset
from attribution.data.images import image_folder

LICENCE = "none stated for the images; cite Liao et al. 2022"


def artbench(source: Path, name: str = "artbench") -> Dataset:
    """All paintings: images [N, 3, H, W] uint8, the training part first, styles numbered in alphabetical order.

    Raises StudyError naming the source where it is truncated or of another form.
    """
    packed = source.is_dir() and parquet.files(source)
    images, labels, split = parquet.read(source, "RGB") if packed else image_folder(source)
    return Dataset(name, "ArtBench-10, imagefolder with split (Liao et al. 2022)", LICENCE, images, labels, split)
