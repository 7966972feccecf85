import torch

from pdiff.zoo.augment import flip_and_shift, resized_crop


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


def test_crops_of_an_image_that_rises_in_a_line_are_lines_of_less_rise():
    ramp = torch.arange(32.0).expand(400, 1, 32, 32)
    found = resized_crop(ramp, torch.Generator().manual_seed(0))[:, 0]
    torch.testing.assert_close(found, found[:, :1].expand_as(found))  # each row is the same
    slopes = found[:, 0].diff(dim=1)[:, 8:24]
    torch.testing.assert_close(slopes, slopes[:, :1].expand_as(slopes), atol=1e-4, rtol=0)
    widths = slopes[:, 0].abs()
    assert 0.4 < (slopes[:, 0] < 0).float().mean() < 0.6  # mirrored
    assert widths.max() <= 1 + 1e-4
    assert 0.2 < widths.min() < 0.4
    assert 0.6 < widths.square().mean() ** 0.5 < 0.85  # mean share of the area 0.54


def test_crops_stay_inside_and_the_generator_decides():
    images = torch.rand(64, 3, 16, 16)
    one, again = (resized_crop(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, again)
    assert one.amin() >= images.amin()
    assert one.amax() <= images.amax() + 1e-6
