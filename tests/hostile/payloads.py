"""Pickles that run code where a pickle is believed: each touches a canary, a file that must never appear."""

import struct
from pathlib import Path

from tests.hostile.assembler import (
    FALSE,
    NONE,
    built,
    call,
    dictionary,
    listed,
    load,
    pickled,
    text,
    tuple_,
)

__all__ = ["ALIVE", "calls", "variants"]


def shell(canary: Path) -> bytes:
    return text(f"touch '{canary}'")


def python(canary: Path) -> bytes:
    return text(f"open({str(canary)!r}, 'w').close()")


def system(canary: Path) -> bytes:
    """Return `os.system("touch …")`, which leaves an integer."""
    return call(load("os.system"), shell(canary))


def calls(canary: Path) -> dict[str, bytes]:
    """Return a call of each function that attackers use, by the name that must be said."""
    path, code = text(str(canary)), python(canary)
    inner = pickled(system(canary))
    bytes_ = b"B" + struct.pack("<I", len(inner)) + inner
    command, argv = shell(canary), listed(text("touch"), path)
    arguments: dict[tuple[str, ...], tuple[bytes, ...]] = {
        _SHELLS: (command,),
        _ARGV: (argv,),
        _PYTHON: (code,),
        _PATHS: (path,),
        _BYTES: (bytes_,),
        _OPENS: (path, text("w")),
    }
    return {name: call(load(name), *given) for names, given in arguments.items() for name in names}


_SHELLS = (
    "os.system", "posix.system", "nt.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "commands.getoutput", "popen2.popen2", "platform.popen",
    "asyncio.create_subprocess_shell", "torch.utils.data.datapipes.utils.decoder.os.system",
)  # fmt: skip
_ARGV = (
    "subprocess.Popen", "subprocess.run", "subprocess.call", "subprocess.check_call",
    "subprocess.check_output", "pty.spawn", "distutils.spawn.spawn", "os.spawnvp",
)  # fmt: skip
_PYTHON = (
    "builtins.eval", "builtins.exec", "builtins.compile", "__builtin__.eval", "__builtin__.execfile",
    "timeit.timeit", "code.InteractiveInterpreter", "cProfile.run", "pdb.run", "bdb.Bdb", "trace.Trace",
    "runpy._run_code", "types.CodeType", "types.FunctionType", "numpy.testing._private.utils.runstring",
    "torch.jit.unsupported_tensor_ops.execWrapper", "torch._dynamo.guards.eval", "ast.literal_eval",
    "torch.utils.cpp_extension.load_inline", "torch.fx.graph_module.reduce_graph_module",
)  # fmt: skip
_PATHS = (
    "os.mkdir", "os.makedirs", "os.remove", "os.mknod", "shutil.rmtree", "runpy.run_path", "webbrowser.open",
    "ctypes.CDLL", "importlib.import_module", "builtins.__import__", "imp.load_source", "numpy.load",
    "torch.load", "torch.jit.load", "torch.hub.load", "torch.hub.load_state_dict_from_url",
    "torch.ops.load_library", "torch.classes.load_library", "torch.package.PackageImporter",
    "torch.jit._unpickler", "torch.serialization.load", "torch._C.import_ir_module", "joblib.load",
    "pandas.read_pickle", "shelve.open", "zipimport.zipimporter", "urllib.request.urlopen",
)  # fmt: skip
_BYTES = (
    "pickle.loads", "_pickle.loads", "cPickle.loads", "dill.loads", "cloudpickle.loads", "marshal.loads",
    "torch.storage._load_from_bytes", "codecs.decode", "_codecs.decode", "numpy.core.multiarray.fromstring",
)  # fmt: skip
_OPENS = (
    "builtins.open", "io.open", "_io.open", "_io.FileIO", "codecs.open", "os.open", "gzip.open",
    "tempfile.NamedTemporaryFile", "builtins.getattr", "builtins.setattr", "builtins.delattr",
    "builtins.map", "builtins.filter", "builtins.type", "builtins.super", "builtins.vars",
    "builtins.globals", "builtins.breakpoint", "builtins.input", "functools.partial", "functools.reduce",
    "operator.attrgetter", "operator.methodcaller", "operator.call", "itertools.starmap",
    "torch.nn.modules.linear.Linear", "torch.nn.Linear", "torch.save", "torch.tensor", "torch.compile",
    "sys.exit", "sys.modules", "copyreg.add_extension", "weakref.finalize", "atexit.register",
)  # fmt: skip


def variants(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Return every way in which a pickle can name and call `os.system`, and what is said of it."""
    command, named = shell(canary), "object of os.system"
    short = b"\x8c\x02os\x8c\x06system\x93"
    namespace = load("argparse.Namespace") + b")\x81"
    touch = tuple_(listed(text("touch"), text(str(canary))))
    popen, rebuild = load("subprocess.Popen"), load("torch._tensor._rebuild_from_type_v2")
    module = tuple_(text("module"), load("x.Net"), text("x.py"), python(canary))
    dotted = text("os") + text("path.os.system") + b"\x93"
    tensor, v2, evil = load("torch.Tensor"), load("torch._utils._rebuild_tensor_v2"), load("os.system")
    return {
        "GLOBAL, REDUCE": (system(canary), named),
        "STACK_GLOBAL, REDUCE": (short + command + b"\x85R", named),
        "STACK_GLOBAL of strings": (b"U\x02osU\x06system\x93" + command + b"\x85R", named),
        "STACK_GLOBAL, dotted": (dotted + command + b"\x85R", "object of os.path.os.system"),
        "memo": (load("os.system") + b"q\x070h\x07" + command + b"\x85R", named),
        "DUP": (load("os.system") + b"2" + command + b"\x85R\x86", named),
        "NEWOBJ": (popen + touch + b"\x81", "object of subprocess.Popen"),
        "NEWOBJ_EX": (popen + touch + b"}\x92", "object of subprocess.Popen"),
        "INST": (b"(" + command + b"ios\nsystem\n", named),
        "OBJ": (b"(" + load("os.system") + command + b"o", named),
        "OBJ, memo": (b"(" + load("os.system") + b"q\x07" + command + b"o", named),
        "BUILD": (built(built(namespace, dictionary({"__setstate__": load("os.system")})), command), named),
        "BUILD of slots": (built(namespace, tuple_(NONE, dictionary({"x": system(canary)}))), named),
        "PERSID": (b"Pos.system\n", "extra"),
        "BINPERSID": (system(canary) + b"Q", named),
        "BINPERSID of a module": (module + b"Q", "object of x.Net"),
        "EXT1": (b"\x82\x01" + command + b"\x85R", "extra"),
        "EXT2": (b"\x83\x01\x00" + command + b"\x85R", "extra"),
        "EXT4": (b"\x84\x01\x00\x00\x00" + command + b"\x85R", "extra"),
        "factory": (call(load("collections.defaultdict"), load("os.system")), named),
        "reconstructor": (call(load("copyreg._reconstructor"), evil, load("builtins.object"), NONE), named),
        "rebuilt by": (call(rebuild, evil, tensor, tuple_(command), NONE), named),
        "rebuilt as": (call(rebuild, v2, evil, tuple_(command), NONE), named),
        "rebuilt with": (
            call(rebuild, load("builtins.set"), tensor, tuple_(tuple_(system(canary))), NONE), named
        ),
        "parameter": (call(load("torch._utils._rebuild_parameter"), system(canary), FALSE, NONE), named),
    }  # fmt: skip


ALIVE = (
    "GLOBAL, REDUCE", "STACK_GLOBAL, REDUCE", "STACK_GLOBAL of strings", "STACK_GLOBAL, dotted", "memo",
    "DUP", "INST", "OBJ", "BUILD", "BUILD of slots",
)  # fmt: skip
"""Those of the `variants` that Python's own unpickler runs, without torch."""
