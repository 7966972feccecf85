//! Lists every class and function that a pickle may name, and what each means here.
//!
//! None of them is looked up anywhere, let alone called.

use super::element::Element;

/// What a class or function stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// Makes a dictionary, from nothing or from pairs.
    Dict,
    /// Makes a container that holds its argument.
    Container,
    /// Makes `bytes` from nothing.
    Bytes,
    /// Gives the tensor back that is its first argument.
    Parameter,
    /// Gives the tuple back that is its argument.
    Size,
    /// Makes a tensor.
    Rebuild(Rebuild),
    /// Applies another rebuilder, for subclasses and tensors with attributes.
    FromType,
    /// Makes a tensor that cannot be read, and why.
    Unreadable(&'static str),
    /// A class of storages.
    Storage(Element),
    /// An element type.
    DType(Element),
    /// Makes a NumPy number.
    NumpyScalar,
    /// Makes a NumPy type.
    NumpyType,
    /// Encodes text, here always as Latin-1.
    Encode,
    /// Makes an object whose content does not matter, whatever it is given.
    Opaque,
}

/// The functions that make a tensor from a storage; they differ in their arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// Storage, offset, size, stride.
    V1,
    /// As before, and requires_grad, hooks and perhaps metadata.
    V2,
    /// As before, and the element type before the metadata.
    V3,
}

impl Global {
    /// What `module.name` stands for; `None` if it is not on the list.
    pub fn find(module: &str, name: &str) -> Option<Self> {
        match module {
            "builtins" | "__builtin__" => builtin(name),
            "collections" => collection(name),
            "torch" | "torch.cuda" | "torch.storage" => torch(module, name),
            "torch._utils" => rebuilder(name),
            "torch._tensor" | "torch.tensor" => from_type(name),
            "torch.nn.parameter" => parameter(name),
            "torch.serialization" => (name == "_get_layout").then_some(Self::Opaque),
            "numpy.core.multiarray" | "numpy._core.multiarray" => numpy_function(name),
            "numpy" => numpy(name),
            "numpy.dtypes" => is_numpy_dtype(name).then_some(Self::Opaque),
            "numpy.core.numeric" | "numpy._core.numeric" => {
                (name == "_frombuffer").then_some(Self::Opaque)
            }
            "_codecs" => (name == "encode").then_some(Self::Encode),
            _ => is_opaque(module, name).then_some(Self::Opaque),
        }
    }
}

fn builtin(name: &str) -> Option<Global> {
    Some(match name {
        "dict" => Global::Dict,
        "set" | "frozenset" | "list" | "tuple" => Global::Container,
        "bytes" => Global::Bytes,
        "int" | "float" | "bool" | "str" | "bytearray" | "complex" | "slice" | "range"
        | "object" => Global::Opaque,
        _ => return None,
    })
}

fn collection(name: &str) -> Option<Global> {
    match name {
        "OrderedDict" | "defaultdict" => Some(Global::Dict),
        "Counter" | "deque" => Some(Global::Container),
        _ => None,
    }
}

fn torch(module: &str, name: &str) -> Option<Global> {
    if let Some(element) = Element::of_storage(name) {
        return Some(Global::Storage(element));
    }
    match (module, name) {
        (_, "UntypedStorage" | "_UntypedStorage") => Some(Global::Storage(Element::BYTE)),
        (_, "TypedStorage" | "_TypedStorage") => Some(Global::Opaque),
        ("torch", "Size") => Some(Global::Size),
        ("torch", "Tensor") => Some(Global::Parameter),
        // Quantisation schemes and layouts stand beside tensors that cannot be read anyway.
        (
            "torch",
            "device"
            | "per_tensor_affine"
            | "per_tensor_symmetric"
            | "per_channel_affine"
            | "per_channel_symmetric"
            | "per_channel_affine_float_qparams"
            | "strided"
            | "sparse_coo"
            | "contiguous_format"
            | "channels_last"
            | "preserve_format",
        ) => Some(Global::Opaque),
        ("torch", _) => Element::of_dtype(name).map(Global::DType),
        _ => None,
    }
}

fn rebuilder(name: &str) -> Option<Global> {
    Some(match name {
        "_rebuild_tensor" => Global::Rebuild(Rebuild::V1),
        "_rebuild_tensor_v2" => Global::Rebuild(Rebuild::V2),
        "_rebuild_tensor_v3" => Global::Rebuild(Rebuild::V3),
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => Global::Parameter,
        "_rebuild_qtensor" => Global::Unreadable("quantised"),
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => Global::Unreadable("sparse"),
        "_rebuild_nested_tensor" => Global::Unreadable("nested"),
        "_rebuild_meta_tensor_no_storage" => Global::Unreadable("on the meta device, without data"),
        "_rebuild_wrapper_subclass" => Global::Unreadable("a wrapper of other tensors"),
        "_rebuild_device_tensor_from_numpy"
        | "_rebuild_device_tensor_from_cpu_tensor"
        | "_rebuild_xla_tensor" => Global::Unreadable("of a device that stores NumPy arrays"),
        _ => return None,
    })
}

fn from_type(name: &str) -> Option<Global> {
    matches!(name, "_rebuild_from_type" | "_rebuild_from_type_v2").then_some(Global::FromType)
}

fn parameter(name: &str) -> Option<Global> {
    match name {
        "Parameter" | "Buffer" => Some(Global::Parameter),
        "UninitializedParameter" | "UninitializedBuffer" => {
            Some(Global::Unreadable("not initialised"))
        }
        _ => None,
    }
}

fn numpy_function(name: &str) -> Option<Global> {
    match name {
        "scalar" => Some(Global::NumpyScalar),
        "_reconstruct" => Some(Global::Opaque),
        _ => None,
    }
}

fn numpy(name: &str) -> Option<Global> {
    match name {
        "dtype" => Some(Global::NumpyType),
        "ndarray" => Some(Global::Opaque),
        _ => None,
    }
}

/// The classes of NumPy's element types, `Float64DType` and the like.
fn is_numpy_dtype(name: &str) -> bool {
    const KINDS: [&str; 33] = [
        "Bool",
        "Byte",
        "Bytes",
        "CLongDouble",
        "Complex128",
        "Complex64",
        "DateTime64",
        "Float16",
        "Float32",
        "Float64",
        "Int",
        "Int16",
        "Int32",
        "Int64",
        "Int8",
        "Long",
        "LongDouble",
        "LongLong",
        "Object",
        "Short",
        "Str",
        "String",
        "TimeDelta64",
        "UByte",
        "UInt",
        "UInt16",
        "UInt32",
        "UInt64",
        "UInt8",
        "ULong",
        "ULongLong",
        "UShort",
        "Void",
    ];
    name.strip_suffix("DType")
        .is_some_and(|kind| KINDS.contains(&kind))
}

/// Objects of configurations: they stand beside weights and are never part of them.
fn is_opaque(module: &str, name: &str) -> bool {
    let inside = |package: &str| {
        let rest = module.strip_prefix(package);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match module {
        "copyreg" | "copy_reg" => name == "_reconstructor",
        "argparse" => name == "Namespace",
        "types" => name == "SimpleNamespace",
        "_io" => name == "BytesIO",
        "torch.torch_version" => name == "TorchVersion",
        "pathlib" | "pathlib._local" => matches!(
            name.strip_prefix("Pure").unwrap_or(name),
            "Path" | "PosixPath" | "WindowsPath"
        ),
        "datetime" => matches!(
            name,
            "date" | "datetime" | "time" | "timedelta" | "timezone" | "tzinfo"
        ),
        "decimal" => name == "Decimal",
        "fractions" => name == "Fraction",
        "uuid" => matches!(name, "UUID" | "SafeUUID"),
        "typing" => matches!(
            name,
            "Any" | "Union" | "Optional" | "Dict" | "List" | "Tuple"
        ),
        "yacs.config" => name == "CfgNode",
        "easydict" => name == "EasyDict",
        "addict.addict" => name == "Dict",
        "pytorch_lightning.utilities.parsing"
        | "lightning_fabric.utilities.data"
        | "lightning.fabric.utilities.data"
        | "lightning.pytorch.utilities.parsing" => name == "AttributeDict",
        _ => inside("omegaconf") || inside("ml_collections") || inside("mmengine.config"),
    }
}
