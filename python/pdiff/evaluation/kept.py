"""Predictions that have been made before, under the digests of the models' rows."""

from torch import Tensor

from pdiff import _core
from pdiff.evaluation.prediction import Prediction
from pdiff.evaluation.store import Store

__all__ = ["Kept"]


class Kept:
    """Predictions on `samples` samples in a store; without one, none is found and none is kept."""

    def __init__(self, store: Store | None, samples: int) -> None:
        self._store, self._samples = store, samples

    def find(self, row: Tensor, votes: bool) -> Prediction | None:
        """Return what was predicted with a model, a raw row [D]; one with votes serves both."""
        if self._store is None:
            return None
        for key in _keys(row, votes):
            found = self._store.get(key)
            prediction = None if found is None else Prediction.unpacked(found)
            if prediction is not None and len(prediction.correct) == self._samples:
                return prediction
        return None

    def keep(self, row: Tensor, votes: bool, prediction: Prediction) -> None:
        """Keep what was predicted."""
        if self._store is not None:
            self._store.put(_keys(row, votes)[0], prediction.packed())


def _keys(row: Tensor, votes: bool) -> list[str]:
    """Return the keys under which a prediction may be kept, its own first."""
    content = _core.digest(row.contiguous().numpy())
    kinds = ["votes"] if votes else ["", "votes"]
    return [_core.digest(f"{content} {kind}".encode()) for kind in kinds]
