"""The commands of the published systems: `decant train set`, `denoiser`, `digits`, `perceptual`, `color`."""

from typing import Any

import click

from decant_train.commands.options import FOLDER, epoch_options, loop_options, report, shared_options


@click.command("set")
@click.argument("size")
@click.option(
    "--images",
    type=FOLDER,
    help="Folder of images.  [default: sample photos of scikit-image and scikit-learn]",
)
@click.option("--plain", is_flag=True, help="The variant without residual shortcuts.")
@click.option("--joint", is_flag=True, help="Train encoder and decoder together, as published (slower).")
@click.option(
    "--ssim-weight", default=0.0, help="Add this much (1 - SSIM) to the loss (0: MSE, as published)."
)
@click.option("--num-layers", type=int, help="Stride-2 blocks.")
@click.option("--latent-dim", type=int, help="Numbers per latent vector.")
@click.option("--image-size", type=int, help="Side of the square images, in pixels.")
@click.option("--set-size", type=int, help="Number of images.")
@click.option(
    "--fit", type=click.Choice(["crop", "stretch"]), default="crop", help="Crop, or distort as published."
)
@epoch_options
@shared_options
def train_set(size: str, **given: Any) -> None:
    """Overfit a set autoencoder (small, base, large, xlarge) to a set of images."""
    from decant_train.published.set import recipe as set_recipe

    names = ("num_layers", "latent_dim", "image_size", "set_size")
    done = set_recipe.train_set(
        size,
        given["out"],
        loop_options(given),
        images=given["images"],
        fit=given["fit"],
        plain=given["plain"],
        joint=given["joint"],
        ssim_weight=given["ssim_weight"],
        shape={name: given[name] for name in names if given[name] is not None},
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)


@click.command("denoiser")
@click.argument("size")
@click.option(
    "--checkpoint", type=FOLDER, multiple=True, help="Set checkpoint whose pictures it denoises; repeatable."
)
@click.option("--images", type=FOLDER, help="Folder of the originals. Default: the one in the checkpoints.")
@epoch_options
@shared_options
def train_denoiser(size: str, **given: Any) -> None:
    """Train a denoiser (default, light) for the pictures that set checkpoints decode."""
    from decant_train.published.denoiser import recipe as denoiser_recipe

    done = denoiser_recipe.train_denoiser(
        size,
        given["out"],
        loop_options(given),
        sets=given["checkpoint"],
        images=given["images"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)


@click.command("digits")
@click.argument("size")
@click.option("--images", type=FOLDER, required=True, help="Folder of MNIST's four idx files.")
@click.option("--latent-dim", type=int, help="Numbers per latent vector.")
@click.option("--noise-bits", type=int, help="Train the latents for storage in this many bits (0: no noise).")
@epoch_options
@shared_options
def train_digits(size: str, **given: Any) -> None:
    """Train the digit autoencoder (default) on 28x28 grey digits."""
    from decant_train.published.digits import recipe as recipes_digits

    done = recipes_digits.train_digits(
        size,
        given["out"],
        loop_options(recipes_digits.DEFAULTS | {k: v for k, v in given.items() if v is not None}),
        images=given["images"],
        shape={name: given[name] for name in ("latent_dim", "noise_bits") if given[name] is not None},
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)


@click.command("digits-denoiser")
@click.argument("size")
@click.option(
    "--checkpoint", type=FOLDER, required=True, help="Digit autoencoder whose pictures it denoises."
)
@click.option("--images", type=FOLDER, required=True, help="Folder of MNIST's four idx files.")
@epoch_options
@shared_options
def train_digits_denoiser(size: str, **given: Any) -> None:
    """Train the denoiser (default) for the digits that an autoencoder decodes."""
    from decant_train.published.digits import recipe as recipes_digits

    done = recipes_digits.train_digits_denoiser(
        size,
        given["out"],
        loop_options(recipes_digits.DENOISER_DEFAULTS | {k: v for k, v in given.items() if v is not None}),
        decoder=given["checkpoint"],
        images=given["images"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)


@click.command("perceptual")
@click.argument("size")
@click.option("--images", type=FOLDER, help="Folder of photos. Default: samples in installed packages.")
@click.option(
    "--features",
    type=FOLDER,
    help="VGG-19 convolutions for the perceptual loss, as .npz; docs/training.md describes the file.",
)
@click.option("--bits", default=8, show_default=True, help="Bits per latent, 1 to 8.")
@click.option("--mu", default=0.1, show_default=True, help="Weight of the perceptual loss (0: MSE alone).")
@click.option("--pictures", default=0, help="Train on this many photos of the folder (0: all).")
@click.option(
    "--encoder-weights", type=FOLDER, help="State dict of torchvision's ResNet. Default: random weights."
)
@click.option("--begin", type=FOLDER, help="Checkpoint of the family to start from; its bits may differ.")
@epoch_options
@shared_options
def train_perceptual(size: str, **given: Any) -> None:
    """Train a ResNet autoencoder (default, small) with a perceptual loss."""
    from decant_train.published.perceptual import recipe as recipes_perceptual

    done = recipes_perceptual.train_perceptual(
        size,
        given["out"],
        recipes_perceptual.with_defaults(loop_options(given), given),
        images=given["images"],
        features_file=given["features"],
        mu=given["mu"],
        bits=given["bits"],
        pictures=given["pictures"],
        encoder_weights=given["encoder_weights"],
        begin=given["begin"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)


@click.command("color")
@click.argument("size")
@click.option(
    "--data",
    type=FOLDER,
    help="Folder of CIFAR-100 mosaics.  [default: crops of sample photos of scikit-image and scikit-learn]",
)
@click.option("--bits-per-pixel", type=float, help="Target for the average rate of a file's latents.")
@click.option("--depths", help="Bits per latent, from the least to the most complex regions: 6,7,8.")
@click.option("--shares", help="Share of the regions that has each depth: 0.05,0.2,0.75.")
@epoch_options
@shared_options
def train_color(size: str, **given: Any) -> None:
    """Train the colour autoencoder (base) on small pictures. The depth of latents follows the complexity."""
    from decant_train.published.color import recipe as recipes_color

    limits = {} if given["epochs"] or given["max_minutes"] else {"epochs": recipes_color.EPOCHS}
    chosen = {name: value for name, value in given.items() if value is not None}
    lists = {name: type_ for name, type_ in (("depths", int), ("shares", float)) if given[name]}
    shape = {name: tuple(map(type_, given[name].split(","))) for name, type_ in lists.items()}
    if given["bits_per_pixel"] is not None:
        shape["bits_per_pixel"] = given["bits_per_pixel"]
    done = recipes_color.train_color(
        size,
        given["out"],
        loop_options(recipes_color.DEFAULTS | {"schedule": None} | chosen | limits),
        data=given["data"],
        shape=shape,
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)
