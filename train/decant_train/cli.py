"""``decant train FAMILY SIZE``: images in, checkpoint out. One subcommand a family."""

import copy
import sys
from typing import Any

import click

from decant_train.commands import codec, published


class OneLineErrors(click.Group):
    """Ends a command whose input is wrong with one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, FloatingPointError, OSError) as error:
            click.echo(f"decant: {error}", err=True)
            sys.exit(1)


@click.group(cls=OneLineErrors)
def train() -> None:
    """Train a model: images in, checkpoint out."""


for command in (
    published.train_set,
    published.train_denoiser,
    codec.train_codec,
    codec.finetune,
    published.train_digits,
    published.train_digits_denoiser,
    published.train_perceptual,
    published.train_color,
    codec.pack,
    codec.compact,
):
    train.add_command(command)
# Its name until 0.12 still works and is not listed.
_finish = copy.copy(codec.finetune)
_finish.hidden = True
train.add_command(_finish, "finish")
