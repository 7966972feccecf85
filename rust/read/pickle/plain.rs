//! Lists classes and functions that many checkpoints name beside their weights: nobody need be told of them.

/// Whether `module.name` is one of them. They make objects that nothing runs, like any other.
pub fn is_plain(module: &str, name: &str) -> bool {
    // A name within a name could lead anywhere, as in `pathlib` and `os.system`.
    if name.contains('.') {
        return false;
    }
    let inside = |package: &str| {
        let rest = module.strip_prefix(package);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match module {
        "builtins" | "__builtin__" => matches!(
            name,
            "int"
                | "long"
                | "float"
                | "bool"
                | "str"
                | "unicode"
                | "bytearray"
                | "complex"
                | "slice"
                | "range"
                | "xrange"
                | "object"
                | "Ellipsis"
        ),
        "torch" | "torch.cuda" | "torch.storage" => is_of_torch(module, name),
        "torch.serialization" => name == "_get_layout",
        "numpy.dtypes" => is_numpy_dtype(name),
        "copyreg" | "copy_reg" => matches!(name, "_reconstructor" | "__newobj__" | "__newobj_ex__"),
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

/// Quantisation schemes and layouts stand beside tensors that cannot be read anyway.
fn is_of_torch(module: &str, name: &str) -> bool {
    const OF_TORCH: [&str; 11] = [
        "device",
        "per_tensor_affine",
        "per_tensor_symmetric",
        "per_channel_affine",
        "per_channel_symmetric",
        "per_channel_affine_float_qparams",
        "strided",
        "sparse_coo",
        "contiguous_format",
        "channels_last",
        "preserve_format",
    ];
    matches!(name, "TypedStorage" | "_TypedStorage")
        || module == "torch" && OF_TORCH.contains(&name)
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
