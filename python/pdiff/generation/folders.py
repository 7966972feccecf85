"""Open the folders to evaluate and their bank, without torch: what is refused here is refused at once."""

from collections.abc import Sequence
from pathlib import Path

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.generation.generated import GENERATED, Generated


def open_folder(source: Generated | Path | str) -> Generated | Path:
    """Return a folder that `generate` wrote opened, another one as its path."""
    if isinstance(source, Generated):
        return source
    path = Path(source)
    ours = (path / GENERATED).is_file() or not path.exists()  # which says that there is nothing
    return Generated.open(path) if ours else path


def bank_of(folders: Sequence[Generated | Path], bank: Bank | Path | str | None) -> Bank:
    """Return the bank of all folders: the one given, or the one that `generate` noted."""
    if not folders:
        raise UsageError("no models to evaluate; name at least one folder")
    ours = [folder for folder in folders if isinstance(folder, Generated)]
    if bank is None:
        if not ours:
            raise UsageError(
                f"{folders[0]}: not written by `pdiff generate`; say of which bank they are (--bank BANK)"
            )
        bank = ours[0].bank
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    for one in ours:
        if one.info.bank.digest != bank.digest:
            raise UsageError(
                f"{one.path}: of another bank than {bank.path}; runs of one method share a bank, and other "
                "folders are controls (--control NAME=DIR)"
            )
    return bank
