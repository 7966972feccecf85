"""`pdiff task`: print a task to start from."""

import click


@click.command("task")
@click.option("--template", is_flag=True, required=True, help="Print a file to fill in.")
@click.option(
    "--kind",
    type=click.Choice(["tensors", "dataset"]),
    default="tensors",
    show_default=True,
    help="What data is: two tensors a split, or a Dataset of pairs.",
)
def command(template: bool, kind: str) -> None:
    """Print a whole task, which runs as it is, as the beginning of one for networks of your own."""
    from importlib import resources

    file = resources.files("pdiff").joinpath("tasks", "templates", f"{kind}.py")
    click.echo(file.read_text(encoding="utf-8"), nl=False)
