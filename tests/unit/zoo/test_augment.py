import torch

from pdiff.zoo.train import flip_and_shift


def slow_variants(image, reach):
    """Every mirrored and shifted version of an image [C, H, W]."""
    _, height, width = image.shape
    for mirrored in (image, image.flip(2)):
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                yield torch.stack(
                    [
                        mirrored[:, min(max(r + down, 0), height - 1), min(max(c + right, 0), width - 1)]
                        for r in range(height)
                        for c in range(width)
                    ],
                    dim=1,
                ).view_as(image)


def test_every_result_is_a_mirrored_shifted_original():
    images = torch.randn(40, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    varied = flip_and_shift(images, torch.Generator().manual_seed(1), reach=2)
    found = set()
    for image, result in zip(images, varied, strict=True):
        matches = [i for i, variant in enumerate(slow_variants(image, 2)) if torch.equal(variant, result)]
        assert len(matches) == 1
        found.update(matches)
    assert len(found) > 20  # of 50 variants


def test_the_generator_decides():
    images = torch.randn(8, 1, 4, 4)
    one, again = (flip_and_shift(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, again)
