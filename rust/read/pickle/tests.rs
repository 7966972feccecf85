use proptest::prelude::*;

use super::value::MAX_VALUES;
use super::*;
use crate::error::Error;
use crate::read::fixture::reading::check_refused;
use crate::read::fixture::{Value, call, dict, ints, storage, text, vector, view};
use crate::runtime::parallel::Cancel;

/// Reads `bytes` and gives what `see` makes of the value.
fn load<T>(bytes: &[u8], see: impl FnOnce(&Values<'_>, Id) -> T) -> Result<T, String> {
    let cancel = Cancel::default();
    let mut machine = Machine::new(Cursor::over(bytes.to_vec(), 0), &cancel);
    match machine.load() {
        Ok(id) => Ok(see(&machine.values, id)),
        Err(Fault::Content(message) | Fault::Code(message)) => Err(message),
        Err(Fault::Source(error)) => panic!("{error}"),
    }
}

fn kind(bytes: &[u8]) -> Result<&'static str, String> {
    load(bytes, |values, id| values.kind(id))
}

#[track_caller]
fn refused(bytes: &[u8], fragment: &str) {
    check_refused(kind(bytes), fragment);
}

#[track_caller]
fn int(value: &Value) -> Option<i64> {
    let see = |values: &Values<'_>, id| match values.node(id) {
        Node::Int(value) => Some(*value),
        _ => None,
    };
    load(&value.pickle(), see).unwrap()
}

#[track_caller]
fn float(value: &Value) -> Option<f64> {
    let see = |values: &Values<'_>, id| match values.node(id) {
        Node::Float(value) => Some(*value),
        _ => None,
    };
    load(&value.pickle(), see).unwrap()
}

#[test]
fn scalars_of_every_opcode() {
    for (code, want) in [
        (&b"K\xff."[..], 255),
        (b"M\x34\x12.", 0x1234),
        (b"J\xff\xff\xff\xff.", -1),
        (b"I-7\n.", -7),
        (b"L12L\n.", 12),
        (b"\x8a\x01\xfe.", -2),
        (b"\x8b\x02\0\0\0\0\x80.", -32768),
        (b"\x80\x04\x95\x02\0\0\0\0\0\0\0K\x05.", 5),
        (b"K\x01K\x020.", 1),
        (b"K\x03(K\x01K\x021.", 3),
        (b"K\x04(0.", 4),
    ] {
        assert_eq!(
            int(&Value::Raw(code[..code.len() - 1].to_vec())),
            Some(want),
            "{code:?}"
        );
    }
    assert_eq!(float(&Value::Float(0.1)), Some(0.1));
    assert_eq!(float(&Value::Raw(b"F2.5\n".to_vec())), Some(2.5));
    for (code, want) in [
        (&b"N."[..], "None"),
        (b"\x88.", "a bool"),
        (b"I01\n.", "a bool"),
        (b"C\x01\xff.", "bytes"),
        (b"\x8e\x01\0\0\0\0\0\0\0\xff.", "bytes"),
        (b"\x96\x01\0\0\0\0\0\0\0\xff.", "bytes"),
        (b"U\x01\xff.", "bytes"),
        (b"\x8a\x09\0\0\0\0\0\0\0\0\x01.", "an integer"),
    ] {
        assert_eq!(kind(code).unwrap(), want, "{code:?}");
    }
}

#[test]
fn texts_of_every_opcode() {
    for code in [
        &b"X\x02\0\0\0ab."[..],
        b"\x8c\x02ab.",
        b"\x8d\x02\0\0\0\0\0\0\0ab.",
        b"U\x02ab.",
        b"T\x02\0\0\0ab.",
        b"S'ab'\n.",
        b"S\"ab\"\n.",
        b"Vab\n.",
    ] {
        let see = |values: &Values<'_>, id| values.text(id).map(str::to_owned);
        assert_eq!(load(code, see).unwrap().as_deref(), Some("ab"), "{code:?}");
    }
    refused(b"S'a\\x00b'\n.", "protocols 2 to 5");
    refused(b"Sab\n.", "without quotes");
}

#[test]
fn containers_of_every_opcode() {
    let sizes = |code: &[u8]| {
        let see = |values: &Values<'_>, id| {
            let pairs = values.pairs(id).map(<[_]>::len);
            pairs.or(values.items(id).map(<[_]>::len))
        };
        load(code, see).unwrap()
    };
    for (code, want) in [
        (&b").(."[..1], 0),
        (b"NN\x86", 2),
        (b"(NNNt", 3),
        (b"(NNl", 2),
        (b"]Na(NNe", 3),
        (b"\x8f(NN\x90", 2),
        (b"(NN\x91", 2),
        (b"}K\x01Ns(K\x02NK\x03Nu", 3),
        (b"(K\x01Nd", 1),
        (b"N2\x86", 2),
        (b"Np0\ng0\n\x86", 2),
        (b"Nq\x00h\x00\x86", 2),
        (b"Nr\x00\0\0\0j\x00\0\0\0\x86", 2),
        (b"N\x94h\x00\x86", 2),
    ] {
        let code = [code, b"."].concat();
        assert_eq!(sizes(&code), Some(want), "{code:?}");
    }
    refused(b"(Nd.", "a key without a value");
    refused(b"Kxa.", "the stack is empty");
    refused(b"NNa.", "None is appended to");
    refused(b")NNs.", "a tuple is given items");
    refused(b"h\x07.", "no memo 7");
    refused(b"Nr\xff\xff\xff\x7f.", "out of order");
    refused(b"t.", "the stack is empty");
}

#[test]
fn opcodes_that_reach_beyond_the_pickle_are_refused() {
    for (code, name) in [
        (b"\x97.".as_slice(), "NEXT_BUFFER (0x97) at byte 0"),
        (b"N\x98.", "READONLY_BUFFER (0x98) at byte 1"),
        (b"N\xee.", "unknown (0xee) at byte 1"),
        (b"\x80\x06N.", "protocol 6; accepted: at most 5"),
        (b"(o.", "OBJ without a class"),
        (b"o.", "the stack is empty"),
    ] {
        refused(code, name);
    }
}

#[track_caller]
fn made_by(code: &[u8]) -> String {
    load(code, |values, id| {
        assert!(values.is_object(id), "{code:?}");
        values.code_name(id)
    })
    .unwrap()
}

#[test]
fn what_code_would_make_is_an_object_that_knows_its_maker() {
    for (code, name) in [
        (b"cos\nsystem\n.".as_slice(), "os.system"),
        (b"cos\nsystem\n)R.", "os.system"),
        (b"cos\nsystem\n)\x81.", "os.system"),
        (b"cos\nsystem\n)}\x92.", "os.system"),
        (b"cos\nsystem\n)R}b.", "os.system"),
        (b"cos\nsystem\n)R(NNu.", "os.system"),
        (b"cos\nsystem\n)R(NNe.", "os.system"),
        (b"cos\nsystem\n)R)R)R.", "os.system"),
        (b"(ios\nsystem\n.", "os.system"),
        (b"(Nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nNo.", "os.system"),
        (b"\x8c\x02os\x8c\x06system\x93)R.", "os.system"),
        (
            b"ccopy_reg\n_reconstructor\n(cos\nsystem\nNNtR.",
            "os.system",
        ),
        (b"ccollections\nOrderedDict\n(cos\nsystem\ntR.", "os.system"),
        (b"ctorch\nSize\n(cos\nsystem\ntR.", "os.system"),
        (b"cos\nsystem\nQ.", "a persistent id"),
        (b"Pos.system\n.", "a persistent id"),
        (b"\x82\x01)R.", "an extension code"),
        (b"\x83\x01\0)R.", "an extension code"),
        (b"\x84\x01\0\0\0.", "an extension code"),
        (b"cos\n\xff\n.", "os.\u{fffd}"),
        (b"X\x02\0\0\0a\nX\x01\0\0\0b\x93.", "a\u{fffd}.b"),
    ] {
        assert_eq!(made_by(code), name, "{code:?}");
    }
    refused(b"NN\x93.", "two texts");
}

#[test]
fn globals_that_are_not_on_the_list_are_named() {
    let globals = [
        ("posix", "system"),
        ("builtins", "eval"),
        ("functools", "partial"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torchvision.models.resnet", "ResNet"),
        ("omegaconfx", "A"),
        ("numpy", "load"),
        ("pathlib", "os.system"),
    ];
    let value = |&(module, name): &_| call(module, name, vec![]);
    let mut values: Vec<Value> = globals.iter().map(value).collect();
    values.extend(globals.iter().map(value));
    values.push(call("argparse", "Namespace", vec![]));
    let named = |most| {
        load(&Value::List(values.clone()).pickle(), |values, _| {
            values.code_names(most)
        })
    };
    let all: Vec<String> = globals
        .iter()
        .map(|(module, name)| format!("{module}.{name}"))
        .collect();
    assert_eq!(named(9).unwrap(), (all.clone(), false));
    assert_eq!(named(3).unwrap(), (all[..3].to_vec(), true));
}

#[test]
fn objects_of_configurations_are_not_named() {
    for (module, name) in [
        ("argparse", "Namespace"),
        ("pathlib", "PosixPath"),
        ("omegaconf.dictconfig", "DictConfig"),
        ("datetime", "datetime"),
        ("numpy.dtypes", "Float64DType"),
        ("__builtin__", "long"),
    ] {
        let code = format!("c{module}\n{name}\n)\u{81}}}b(NNu(NNe)R.");
        let code: Vec<u8> = code.chars().map(|c| c as u8).collect();
        assert_eq!(kind(&code).unwrap(), "an object");
        assert_eq!(
            load(&code, |values, _| values.code_names(9)),
            Ok((vec![], false))
        );
    }
    assert_eq!(kind(b"cbuiltins\nobject\n)}\x92.").unwrap(), "an object");
    refused(b"cbuiltins\nobject\n)N\x92.", "used as keywords");
    refused(b"NNb.", "given a state");
    refused(b"N)R.", "None is called");
    refused(b"ctorch\nfloat32\n)R.", "is called");
    refused(
        b"ccollections\nOrderedDict\nNR.",
        "None is the arguments of a call",
    );
}

#[test]
fn looks_at_shared_values_are_bounded() {
    // One state of 64 attributes for a tensor, again and again.
    let names: Vec<String> = (0..64).map(|i| format!("a{i}")).collect();
    let state: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Value::None))
        .collect();
    let mut code = dict(&state).pickle();
    code.pop();
    code.extend(b"q\x000");
    let tensor = vector("0", 3).pickle();
    code.extend(&tensor[2..tensor.len() - 1]);
    code.extend(b"h\x00b".repeat(1_000_000));
    code.push(b'.');
    refused(&code, "looks at shared values more than 32000000 times");
    code.truncate(code.len() - 1_500_001);
    code.push(b'.');
    refused(&code, "32000000");
    code.truncate(code.len() - 300_001);
    code.push(b'.');
    assert_eq!(kind(&code).unwrap(), "a tensor");
}

#[test]
fn numpy_numbers_are_numbers() {
    let kind_of = |name: &str, order: &str| {
        let made = call(
            "numpy",
            "dtype",
            vec![text(name), Value::Bool(false), Value::Bool(true)],
        );
        let state = Value::Tuple(vec![Value::Int(3), text(order), Value::None]);
        let made = made.pickle();
        let state = state.pickle();
        let body = |pickle: &[u8]| pickle[2..pickle.len() - 1].to_vec();
        Value::Raw([body(&made), body(&state), b"b".to_vec()].concat())
    };
    let scalar =
        |kind: Value, bytes: Value| call("numpy._core.multiarray", "scalar", vec![kind, bytes]);
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let f8 = scalar(kind_of("f8", "<"), bytes(&91.5_f64.to_le_bytes()));
    assert_eq!(float(&f8), Some(91.5));
    let f4 = scalar(kind_of("f4", "<"), bytes(&2.5_f32.to_le_bytes()));
    assert_eq!(float(&f4), Some(2.5));
    let i8 = scalar(kind_of("i8", "<"), bytes(&(-7_i64).to_le_bytes()));
    assert_eq!(int(&i8), Some(-7));
    let latin1 = call(
        "_codecs",
        "encode",
        vec![text("\u{0}\u{0}\u{c0}\u{7f}"), text("latin1")],
    );
    assert!(float(&scalar(kind_of("f4", "<"), latin1)).unwrap().is_nan());
    for unknown in [
        scalar(kind_of("f8", ">"), bytes(&[0; 8])),
        scalar(kind_of("V9", "|"), bytes(&[0; 9])),
        scalar(kind_of("f8", "<"), bytes(&[0; 7])),
        scalar(kind_of("f8", "<"), Value::None),
    ] {
        assert_eq!(kind(&unknown.pickle()).unwrap(), "an object");
    }
    refused(
        &scalar(Value::None, bytes(b"")).pickle(),
        "wrong arguments for numpy",
    );
}

#[test]
fn tensors_of_every_rebuilder() {
    let tensor = vector("0", 3);
    let parameter = |name, rest: Vec<Value>| {
        let arguments = [vec![tensor.clone()], rest].concat();
        call("torch._utils", name, arguments)
    };
    let bytes = storage("UntypedStorage", "0", 6);
    let hooks = call("collections", "OrderedDict", vec![]);
    let half = Value::Global("torch", "float16");
    let v3 = vec![
        bytes,
        Value::Int(1),
        ints(&[2]),
        ints(&[1]),
        Value::Bool(false),
        hooks,
        half,
    ];
    let Value::Reduce(function, arguments) = tensor.clone() else {
        unreachable!()
    };
    let class = Value::Global("torch.nn.parameter", "Parameter");
    let inner = vec![*function, class, *arguments, Value::None];
    for value in [
        tensor.clone(),
        call(
            "torch._utils",
            "_rebuild_tensor",
            vec![
                storage("FloatStorage", "0", 3),
                Value::Int(0),
                ints(&[3]),
                ints(&[1]),
            ],
        ),
        call("torch._utils", "_rebuild_tensor_v3", v3),
        parameter("_rebuild_parameter", vec![Value::Bool(true), dict(&[])]),
        parameter("_rebuild_parameter_with_state", vec![Value::None; 3]),
        call("torch._tensor", "_rebuild_from_type_v2", inner),
    ] {
        let see = |values: &Values<'_>, id| match values.node(id) {
            Node::Tensor(index) => Some(values.tensors[*index as usize].element.torch_name()),
            _ => None,
        };
        assert!(load(&value.pickle(), see).unwrap().is_some());
    }
}

#[test]
fn tensors_that_cannot_be_read_say_why() {
    let why = |value: Value| {
        let see = |values: &Values<'_>, id| match values.node(id) {
            Node::Unreadable(why) => *why,
            _ => "",
        };
        load(&value.pickle(), see).unwrap()
    };
    assert_eq!(
        why(call("torch._utils", "_rebuild_qtensor", vec![])),
        "quantised"
    );
    assert_eq!(
        why(call("torch._utils", "_rebuild_sparse_tensor", vec![])),
        "sparse"
    );
    let Value::Reduce(function, arguments) = vector("0", 3) else {
        unreachable!()
    };
    let Value::Tuple(mut arguments) = *arguments else {
        unreachable!()
    };
    arguments.push(dict(&[("conj", Value::Bool(true))]));
    let conjugated = Value::Reduce(function.clone(), Box::new(Value::Tuple(arguments.clone())));
    assert!(why(conjugated).starts_with("a conjugated"));
    arguments[6] = dict(&[("conj", Value::Bool(false))]);
    assert_eq!(
        why(Value::Reduce(function, Box::new(Value::Tuple(arguments)))),
        ""
    );
}

#[test]
fn wrong_arguments_of_rebuilders_are_refused() {
    let floats = || storage("FloatStorage", "0", 3);
    let unreadable = |value: Value| {
        let see = |values: &Values<'_>, id| match values.node(id) {
            Node::Unreadable(why) => *why,
            _ => "",
        };
        load(&value.pickle(), see).unwrap()
    };
    for (value, why) in [
        (
            view(Value::None, 0, &[3], &[1]),
            "from something that is no storage",
        ),
        (view(floats(), -1, &[3], &[1]), "at a wrong offset"),
        (view(floats(), 0, &[-3], &[1]), "with a wrong shape"),
        (view(floats(), 0, &[3], &[-1]), "with wrong strides"),
        (view(floats(), 0, &[3], &[1, 1]), "with wrong strides"),
        (view(floats(), 0, &[1; 65], &[1; 65]), "with a wrong shape"),
        (
            call("torch._utils", "_rebuild_tensor_v2", vec![floats()]),
            "from a wrong number of arguments",
        ),
    ] {
        assert_eq!(unreadable(value), format!("rebuilt {why}"));
    }
    for value in [
        call("torch._utils", "_rebuild_parameter", vec![Value::None]),
        call("torch._utils", "_rebuild_parameter", vec![]),
        call("torch", "Size", vec![Value::None]),
        call("collections", "OrderedDict", vec![Value::Int(1)]),
        call("_codecs", "encode", vec![Value::Int(1)]),
    ] {
        refused(&value.pickle(), "wrong arguments for");
    }
    let twice = Value::Global("torch._tensor", "_rebuild_from_type_v2");
    let arguments = vec![twice, Value::None, Value::Tuple(vec![]), Value::None];
    let nested = call("torch._tensor", "_rebuild_from_type_v2", arguments);
    refused(&nested.pickle(), "is called");
}

#[test]
fn wrong_persistent_ids_are_refused() {
    let fields = || {
        vec![
            text("storage"),
            Value::Global("torch", "FloatStorage"),
            text("0"),
            text("cpu"),
            Value::Int(3),
        ]
    };
    let persistent = |fields| Value::Persistent(Box::new(Value::Tuple(fields))).pickle();
    assert_eq!(kind(&persistent(fields())).unwrap(), "a storage");
    for (at, wrong) in [
        (1, Value::Global("torch", "float32")),
        (2, Value::Int(0)),
        (4, Value::Int(-1)),
        (4, Value::Int(i64::MAX)),
    ] {
        let mut fields = fields();
        fields[at] = wrong;
        refused(&persistent(fields), "wrong persistent id");
    }
    for outside in [ints(&[0, 2, 2]), ints(&[0, i64::MAX, 2])] {
        let fields = [fields(), vec![outside]].concat();
        refused(&persistent(fields), "wrong persistent id");
    }
    assert_eq!(kind(b"NQ.").unwrap(), "an object");
    let mut module = fields();
    module[0] = text("module");
    assert_eq!(kind(&persistent(module)).unwrap(), "an object");
    let class = Value::Tuple(vec![
        text("module"),
        Value::Global("a", "B"),
        text("a.py"),
        text("code"),
    ]);
    assert_eq!(made_by(&Value::Persistent(Box::new(class)).pickle()), "a.B");
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    refused(
        b"X\xff\xff\xff\xffab.",
        "truncated: 4294967295 bytes are wanted",
    );
    refused(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.", "truncated");
    refused(b"B\xff\xff\xff\x7f", "truncated");
    refused(b"\x8b\xff\xff\xff\xff.", "truncated");
    refused(&b"(".repeat(2000), "nested deeper than 1000");
    refused(&b"N".repeat(MAX_VALUES + 1), "more than 4000000 values");
    let mut stacked = b"N".to_vec();
    stacked.extend(b"2".repeat(MAX_VALUES + 1));
    refused(&stacked, "stacks more than");
}

#[test]
fn copies_are_bounded() {
    // A list of pairs that is made into a dictionary again and again.
    let mut code = b"](".to_vec();
    code.extend(b"NN\x86".repeat(10_000));
    code.extend(b"eq\x000ccollections\nOrderedDict\nq\x010".iter());
    code.extend(b"h\x01h\x00\x85R0".repeat(10_000));
    code.push(b'.');
    refused(&code, "copies more than 4000000 values");
}

#[test]
fn values_may_contain_themselves() {
    assert_eq!(kind(b"]q\x00h\x00a.").unwrap(), "a list");
    assert_eq!(kind(b"}q\x00K\x01h\x00s.").unwrap(), "a dictionary");
}

#[test]
fn every_prefix_is_refused() {
    let whole = dict(&[("a", vector("0", 3)), ("b", Value::Float(1.0))]).pickle();
    for len in 0..whole.len() {
        assert!(kind(&whole[..len]).is_err(), "{len}");
    }
    assert!(kind(&whole).is_ok());
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = kind(&bytes);
    }

    #[test]
    fn nothing_panics_after_a_change(at in any::<prop::sample::Index>(), byte: u8) {
        let inner = dict(&[("a", vector("0", 3)), ("b", ints(&[1, 2]))]);
        let mut bytes = dict(&[("x", inner), ("n", call("argparse", "Namespace", vec![]))]).pickle();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = kind(&bytes);
    }
}

#[test]
fn a_requested_stop_ends_a_pickle() {
    let cancel = Cancel::default();
    cancel.request();
    let mut machine = Machine::new(Cursor::over(Value::None.pickle(), 0), &cancel);
    let Err(Fault::Source(error)) = machine.load() else {
        panic!("it was read")
    };
    assert!(matches!(*error, Error::Interrupted));
}
