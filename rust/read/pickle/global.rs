//! Lists the classes and functions that make data, and what each means here.
//!
//! None of them is looked up anywhere, let alone called. What any other makes is an object that nothing runs.

use super::element::Element;

/// What a class or function stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// Makes a dictionary, from nothing or from pairs.
    Dict,
    /// Makes an `OrderedDict` in the same way.
    OrderedDict,
    /// Makes an empty dictionary, from what makes its values.
    DefaultDict,
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
    /// The class of NumPy arrays.
    NumpyArray,
    /// Makes a NumPy array that will be given its content.
    NumpyReconstruct,
    /// Makes a NumPy array of bytes.
    NumpyFromBuffer,
    /// Encodes text, here always as Latin-1.
    Encode,
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
            "numpy.core.multiarray" | "numpy._core.multiarray" => match name {
                "scalar" => Some(Self::NumpyScalar),
                "_reconstruct" => Some(Self::NumpyReconstruct),
                _ => None,
            },
            "numpy.core.numeric" | "numpy._core.numeric" => {
                (name == "_frombuffer").then_some(Self::NumpyFromBuffer)
            }
            "numpy" => match name {
                "dtype" => Some(Self::NumpyType),
                "ndarray" => Some(Self::NumpyArray),
                _ => None,
            },
            "_codecs" => (name == "encode").then_some(Self::Encode),
            _ => None,
        }
    }
}

fn builtin(name: &str) -> Option<Global> {
    Some(match name {
        "dict" => Global::Dict,
        "set" | "frozenset" | "list" | "tuple" => Global::Container,
        "bytes" => Global::Bytes,
        _ => return None,
    })
}

fn collection(name: &str) -> Option<Global> {
    match name {
        "OrderedDict" => Some(Global::OrderedDict),
        "defaultdict" => Some(Global::DefaultDict),
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
        ("torch", "Size") => Some(Global::Size),
        ("torch", "Tensor") => Some(Global::Parameter),
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
