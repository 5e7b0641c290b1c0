"""The autoencoder from a folder to latents: diffusers' own encode, one file for it, and what is refused."""

import pytest
import torch

from attribution.core.store import save_tensors
from attribution.diffusion import autoencoder
from attribution.errors import StudyError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("autoencoder")
    autoencoder.tiny().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def kept(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "autoencoder.safetensors"
    autoencoder.save(path, autoencoder.from_folder(folder))
    return path


def test_latents_are_the_scaled_modes(folder, kept):
    """Of bytes and of floats, whatever the batch; a sample of the posterior, or no scaling, is another thing."""
    pixels = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    model, loaded = autoencoder.from_folder(folder), autoencoder.load(kept, CPU)
    images = pixels / 127.5 - 1
    with torch.no_grad():
        posterior = model.encode(images).latent_dist
    expected = posterior.mode() * 0.5
    assert expected.shape == (5, 4, 8, 8)
    assert expected.std() > 0.01
    for given in (pixels, images):
        for batch in (1, 2, 5):
            torch.testing.assert_close(autoencoder.encode(loaded, given, batch), expected, rtol=1e-4, atol=1e-5)
    assert (posterior.sample(torch.Generator().manual_seed(0)) * 0.5 - expected).abs().max() > 0.1
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_decoding_undoes_the_scaling(kept):
    model = autoencoder.load(kept, CPU)
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.decode(latents / 0.5).sample.clamp(-1, 1)
    found = autoencoder.decode(model, latents, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.abs().max() <= 1


def test_the_same_model_is_the_same_bytes(folder, kept, tmp_path):
    autoencoder.save(tmp_path / "again", autoencoder.from_folder(folder))
    assert (tmp_path / "again").read_bytes() == kept.read_bytes()


def test_what_is_no_autoencoder_is_one_line(folder, kept, tmp_path):
    with pytest.raises(StudyError, match=r"holds no config\.json"):
        autoencoder.from_folder(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    for content in (None, b"half", (folder / weights.name).read_bytes()[:-100]):
        if content is not None:
            weights.write_bytes(content)
        with pytest.raises(StudyError, match="truncated or no AutoencoderKL") as caught:
            autoencoder.from_folder(tmp_path)
        assert "\n" not in str(caught.value)
    save_tensors(tmp_path / "other", {"a": torch.ones(1)})
    with pytest.raises(StudyError, match="is no autoencoder"):
        autoencoder.load(tmp_path / "other", CPU)
