"""Where in a file a value can be, seen or not: each place makes a whole file around it."""

from collections.abc import Callable, Mapping

from tests.hostile.assembler import (
    FALSE,
    NONE,
    built,
    call,
    dictionary,
    integer,
    items,
    listed,
    load,
    pickled,
    state_dict,
    storage,
    tensor,
    text,
    tuple_,
)
from tests.hostile.files import THREE, Entry, legacy, torch_zip

__all__ = ["Place", "places"]

Place = Callable[[bytes], bytes | list[Entry]]


def places() -> Mapping[str, Place]:
    """Return where in a file a value can be: each makes a whole file around it."""
    old = tensor(storage("0", 3, legacy=True), [3], [1])
    good, stored = dictionary({"weight": old}), [("0", 3, THREE)]
    whole = legacy(good, stored)
    number, name, kind = integer(3), text("storage"), load("torch.FloatStorage")

    def nested(value: bytes) -> list[Entry]:
        return torch_zip(dictionary({"state_dict": state_dict(), "optimizer": dictionary({"state": value})}))

    def inserted(at: bytes, value: bytes) -> bytes:
        """Put the value's pickle in the place of the legacy file's pickle `at`."""
        assert whole.count(pickled(at)) == 1
        return whole.replace(pickled(at), pickled(value))

    def saved(value: bytes) -> list[Entry]:
        namespace = load("argparse.Namespace") + b")\x81"
        return torch_zip(
            dictionary({"model": state_dict(), "args": built(namespace, dictionary({"x": value}))})
        )

    def stored_as(*fields: bytes) -> list[Entry]:
        return torch_zip(dictionary({"weight": tensor(tuple_(*fields) + b"Q", [3], [1])}))

    def zip_of(*arguments: bytes) -> list[Entry]:
        rebuild = load("torch._utils._rebuild_tensor_v2")
        return torch_zip(dictionary({"weight": call(rebuild, storage("0", 3), *arguments)}))

    one, three, hooks = tuple_(integer(1)), tuple_(number), call(load("collections.OrderedDict"))
    zero = integer(0)
    return {
        "the whole": torch_zip,
        "beside the weights": lambda value: torch_zip(state_dict(extra=value)),
        "dropped": lambda value: torch_zip(value + b"0" + state_dict()),
        "in front": lambda value: torch_zip(b"(" + value + b"1" + state_dict()),
        "a key": lambda value: torch_zip(state_dict() + items([(value, NONE)])),
        "in the optimiser": nested,
        "in a namespace": saved,
        "in a list": lambda value: torch_zip(dictionary({"state_dict": state_dict(), "x": listed(value)})),
        "extra state": lambda value: torch_zip(state_dict() + items({"bn._extra_state": value})),
        "attributes": lambda value: torch_zip(built(state_dict(), dictionary({"_metadata": value}))),
        "storage kind": lambda value: stored_as(value, kind, text("0"), text("cpu"), number),
        "storage class": lambda value: stored_as(name, value, text("0"), text("cpu"), number),
        "storage key": lambda value: stored_as(name, kind, value, text("cpu"), number),
        "storage location": lambda value: stored_as(name, kind, text("0"), value, number),
        "storage size": lambda value: stored_as(name, kind, text("0"), text("cpu"), value),
        "offset": lambda value: zip_of(value, three, one, FALSE, hooks),
        "size": lambda value: zip_of(zero, tuple_(value), one, FALSE, hooks),
        "stride": lambda value: zip_of(zero, three, tuple_(value), FALSE, hooks),
        "requires_grad": lambda value: zip_of(zero, three, one, value, hooks),
        "hooks": lambda value: zip_of(zero, three, one, FALSE, value),
        "metadata": lambda value: zip_of(zero, three, one, FALSE, hooks, value),
        "legacy, in front": lambda value: pickled(value) + whole,
        "legacy, version": lambda value: inserted(integer(1001), value),
        "legacy, facts": lambda value: legacy(good, stored, little=value),
        "legacy, object": lambda value: legacy(value, []),
        "legacy, beside": lambda value: legacy(dictionary({"weight": old, "extra": value}), stored),
        "legacy, keys": lambda value: inserted(listed(text("0")), value),
    }  # fmt: skip
