use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::read::declared::{Begin, Candidate, Key};
use crate::read::fixture::reading::check_refused;
use crate::read::fixture::{Value, call, dict, ints, storage, text, vector, view};
use crate::read::pickle::{Cursor, Machine};
use crate::runtime::parallel::Cancel;

const FILE_LEN: u64 = 1000;

/// Where the pickle of these tests would be.
fn pickle() -> Storage {
    Storage {
        file: 0,
        begin: Begin::At(100),
        len: FILE_LEN - 100,
        crc: None,
    }
}

fn choose_with(object: &Value, choice: &Choice) -> Result<Weights, String> {
    let cancel = Cancel::default();
    let mut machine = Machine::new(Cursor::over(object.pickle(), 0), &cancel);
    let id = machine.load().unwrap_or_else(|fault| panic!("{fault:?}"));
    let placed = RefCell::new(Vec::new());
    let place = |values: &Values<'_>, storage: &StorageRef| {
        let key = values.text(storage.key).unwrap().to_owned();
        assert!(!placed.borrow().contains(&key), "{key} is placed twice");
        placed.borrow_mut().push(key);
        Ok(Storage {
            file: 0,
            begin: Begin::At(0),
            len: storage.bytes,
            crc: None,
        })
    };
    let container = Container {
        format: Format::Torch,
        file_len: FILE_LEN,
        pickle: pickle(),
        place: &place,
    };
    choose(&machine.values, id, choice, &container).map_err(|fault| match fault {
        Fault::Content(message) | Fault::Code(message) => message,
        Fault::Source(error) => panic!("{error}"),
    })
}

fn chosen(object: &Value) -> Weights {
    choose_with(object, &Choice::default()).unwrap()
}

fn key(object: &Value, key: Option<&str>, ema: Option<bool>) -> Result<String, String> {
    let key = key.map(|key| Key::Joined(key.to_owned()));
    let choice = Choice {
        key,
        ema,
        ..Choice::default()
    };
    Ok(choose_with(object, &choice)?.keys.join("."))
}

#[track_caller]
fn refused(object: &Value, fragment: &str) {
    check_refused(choose_with(object, &Choice::default()), fragment);
}

fn small() -> Value {
    dict(&[("w", vector("0", 3))])
}

fn large() -> Value {
    dict(&[("w", vector("1", 4))])
}

/// One view of a storage of 24 floats.
fn one(offset: i64, shape: &[i64], strides: &[i64]) -> Value {
    dict(&[(
        "w",
        view(storage("FloatStorage", "0", 24), offset, shape, strides),
    )])
}

#[test]
fn views_in_c_order_have_no_strides() {
    for (offset, shape, strides, want) in [
        (0, &[4, 6][..], &[6, 1][..], None),
        (6, &[2, 6], &[6, 1], None),
        (0, &[4, 1, 6], &[6, 77, 1], None),
        (3, &[], &[], None),
        (99, &[0, 3], &[3, 1], None),
        (0, &[6, 4], &[1, 6], Some(vec![1, 6])),
        (0, &[4, 3], &[6, 2], Some(vec![6, 2])),
        (0, &[9, 4, 6], &[0, 6, 1], Some(vec![0, 6, 1])),
        (1, &[2], &[22], Some(vec![22])),
    ] {
        let weights = chosen(&one(offset, shape, strides));
        let tensor = &weights.tensors[0];
        assert_eq!(tensor.strides, want, "{shape:?} {strides:?}");
        let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        assert_eq!(tensor.shape, sizes);
        let offset = if shape.contains(&0) {
            0
        } else {
            offset as u64 * 4
        };
        assert_eq!(tensor.offset, offset);
        assert_eq!(weights.storages[0].len, 96);
    }
}

#[test]
fn views_beyond_their_storage_are_refused() {
    for (offset, shape, strides) in [
        (0, &[25][..], &[1][..]),
        (1, &[24], &[1]),
        (24, &[], &[]),
        (2, &[2], &[22]),
        (i64::MAX, &[1], &[1]),
        (0, &[i64::MAX], &[1]),
        (0, &[2], &[i64::MAX]),
        (0, &[i64::MAX / 8, 2], &[8, i64::MAX]),
    ] {
        let message = choose_with(&one(offset, shape, strides), &Choice::default()).unwrap_err();
        let known = ["reaches beyond its storage of 96 bytes", "that overflows"];
        assert!(known.iter().any(|text| message.contains(text)), "{message}");
        assert!(message.starts_with(r#"the tensor "w""#), "{message}");
    }
}

#[test]
fn views_without_end_are_refused() {
    refused(
        &one(0, &[1_000_000_000], &[0]),
        r#"the tensor "w" [1000000000] brings the tensors"#,
    );
    // Of 4 × 1000 bytes and 1 MiB, the same view many times takes its bytes once.
    let many = |floats: i64| {
        let view = view(storage("FloatStorage", "0", 24), 0, &[floats], &[0]);
        let names: Vec<String> = (0..100).map(|i| format!("w{i}")).collect();
        let same: Vec<_> = names.iter().map(|n| (n.as_str(), view.clone())).collect();
        dict(&same)
    };
    assert_eq!(chosen(&many(2700)).tensors.len(), 100);
    // Written under each name, though, it would be without end.
    refused(
        &many(200_000),
        r#"the tensor "w1" [200000] brings the tensors to 1600000 bytes under all their names"#,
    );
    let wide = |offset| {
        let floats = storage("FloatStorage", "0", 24);
        view(floats, offset, &[200_000], &[0])
    };
    refused(
        &dict(&[("a", wide(0)), ("b", wide(1))]),
        r#"the tensor "b" [200000] brings the tensors to 1600000 bytes, far"#,
    );
}

#[test]
fn long_keys_are_named_as_such() {
    let name = "k".repeat(70_000);
    let object = dict(&[(&name, Value::None), ("w", vector("0", 3))]);
    refused(
        &object,
        "a key or name of 70000 bytes; accepted: at most 65536",
    );
}

#[test]
fn axes_cannot_outgrow_the_pickle() {
    let zeros = view(storage("FloatStorage", "0", 0), 0, &[0; 64], &[0; 64]);
    let Value::Reduce(..) = &zeros else {
        unreachable!()
    };
    let mut code = b"}(U\x01w".to_vec();
    let pickle = zeros.pickle();
    code.extend(&pickle[2..pickle.len() - 1]);
    code.extend(b"q\x00");
    for i in 0..1000_u16 {
        code.extend([
            b'U',
            2,
            b'0' + (i / 50) as u8,
            b'0' + (i % 50) as u8,
            b'h',
            0,
        ]);
    }
    code.push(b'u');
    refused(&Value::Raw(code), "one axis too many");
}

#[test]
fn storages_are_shared() {
    let floats = || storage("FloatStorage", "0", 24);
    let object = dict(&[
        ("a", view(floats(), 0, &[24], &[1])),
        ("b", view(floats(), 12, &[12], &[1])),
        ("c", vector("1", 2)),
    ]);
    let weights = chosen(&object);
    let storages: Vec<usize> = weights.tensors.iter().map(|t| t.storage).collect();
    assert_eq!((storages, weights.storages.len()), (vec![0, 0, 1], 2));
    let other = view(storage("FloatStorage", "0", 12), 0, &[1], &[1]);
    let both = dict(&[("a", view(floats(), 0, &[1], &[1])), ("b", other)]);
    refused(
        &both,
        r#"the storage "0" is used with 96 and with 48 bytes"#,
    );
}

#[test]
fn tensors_that_cannot_be_read_refuse_only_what_they_are_in() {
    let quantised = dict(&[("q", call("torch._utils", "_rebuild_qtensor", vec![]))]);
    refused(&quantised, r#"the tensor "q" is quantised; accepted"#);
    let complex = view(storage("ComplexDoubleStorage", "0", 1), 0, &[1], &[1]);
    refused(&dict(&[("c", complex)]), r#"the tensor "c" is complex128"#);
    let beside = dict(&[("model", small()), ("teacher", quantised)]);
    assert_eq!(chosen(&beside).keys.join("."), "model");
}

#[test]
fn names_are_texts_and_the_last_of_equal_ones_counts() {
    refused(
        &dict(&[("", vector("0", 1))]),
        r#"tensor name "" is refused"#,
    );
    refused(&dict(&[("a\0b", vector("0", 1))]), "is refused");
    refused(&dict(&[("__metadata__", vector("0", 1))]), "is refused");
    let twice = dict(&[
        ("w", vector("0", 1)),
        ("b", vector("1", 1)),
        ("w", vector("2", 5)),
    ]);
    let weights = chosen(&twice);
    let sizes: Vec<_> = weights
        .tensors
        .iter()
        .map(|t| (&t.name[..], t.shape[0]))
        .collect();
    assert_eq!(sizes, [("w", 5), ("b", 1)]);
    assert!(weights.tensors.iter().all(|t| t.name == t.source_name));
    let mixed = Value::Dict(vec![
        (Value::Int(0), vector("0", 1)),
        (text("a"), vector("0", 1)),
    ]);
    refused(&mixed, "no weights found");
}

#[test]
fn what_is_no_tensor_is_left_out() {
    let object = dict(&[
        ("w", vector("0", 1)),
        ("b", vector("1", 1)),
        ("epoch", Value::Int(3)),
        ("a._extra_state", dict(&[("t", vector("2", 1))])),
        ("classes", Value::List(vec![text("cat")])),
    ]);
    let weights = chosen(&object);
    assert_eq!(weights.left_out, ["epoch", "a._extra_state", "classes"]);
    assert_eq!(weights.numbers, [("epoch".to_owned(), 3.0)]);
    let many = dict(&[
        ("w", vector("0", 1)),
        ("a", Value::None),
        ("b", Value::None),
    ]);
    refused(&many, "no weights found");
    let nested = dict(&[
        ("w", vector("0", 1)),
        ("l", Value::List(vec![vector("1", 1)])),
    ]);
    refused(&nested, "no weights found");
}

#[test]
fn numbers_of_the_top_level_are_kept() {
    let object = dict(&[
        ("model", small()),
        ("epoch", Value::Int(7)),
        ("accuracy", Value::Float(0.5)),
        ("loss", Value::Float(f64::NAN)),
        ("best", Value::Bool(true)),
        ("name", text("x")),
    ]);
    let expected = [("epoch".to_owned(), 7.0), ("accuracy".to_owned(), 0.5)];
    assert_eq!(chosen(&object).numbers, expected);
}

#[test]
fn known_keys_come_in_their_order() {
    let all = [
        "module",
        "model",
        "state_dict",
        "ema",
        "model_ema",
        "state_dict_ema",
    ];
    let mut entries = vec![("other", large())];
    for name in all {
        entries.push((name, small()));
        assert_eq!(chosen(&dict(&entries)).keys.join("."), name);
    }
    let weights = chosen(&dict(&entries));
    let keys: Vec<String> = weights.candidates.iter().map(Candidate::key).collect();
    assert_eq!(
        keys,
        [
            "other",
            "module",
            "model",
            "state_dict",
            "ema",
            "model_ema",
            "state_dict_ema"
        ]
    );
    assert_eq!(
        (weights.candidates[0].tensors, weights.candidates[0].numbers),
        (1, 4)
    );
    let nested = dict(&[(
        "model",
        dict(&[("module", small()), ("ema", dict(&[("model", small())]))]),
    )]);
    assert_eq!(chosen(&nested).keys.join("."), "model.ema.model");
    assert_eq!(key(&nested, None, Some(false)).unwrap(), "model.module");
    assert_eq!(chosen(&small()).keys.join("."), "");
}

#[test]
fn averages_can_be_wanted_or_not() {
    let object = dict(&[("state_dict", small()), ("ema", large())]);
    assert_eq!(key(&object, None, None).unwrap(), "ema");
    assert_eq!(key(&object, None, Some(true)).unwrap(), "ema");
    assert_eq!(key(&object, None, Some(false)).unwrap(), "state_dict");
    let plain = dict(&[("state_dict", small())]);
    let message = key(&plain, None, Some(true)).unwrap_err();
    assert_eq!(
        message,
        r#"no averaged (EMA) weights; accepted: "state_dict" (1 tensors)"#
    );
    assert!(key(&dict(&[("ema", small())]), None, Some(false)).is_err());
}

#[test]
fn candidates_are_bounded() {
    let names: Vec<String> = (0..1001).map(|i| format!("w{i}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), small())).collect();
    refused(&dict(&many), "more than 1000 dictionaries of tensors");
}

#[test]
fn keys_decide_alone() {
    let object = dict(&[
        ("ema", small()),
        ("nets", dict(&[("g", small()), ("d", large())])),
        ("other", dict(&[("d", large())])),
    ]);
    assert_eq!(key(&object, Some("nets.d"), Some(true)).unwrap(), "nets.d");
    assert_eq!(key(&object, Some("g"), None).unwrap(), "nets.g");
    assert_eq!(key(&object, Some("other"), None).unwrap(), "other.d");
    let message = key(&object, Some("d"), None).unwrap_err();
    assert!(
        message.starts_with(r#"several weights under the key "d"; accepted: "ema""#),
        "{message}"
    );
    let message = key(&object, Some("x"), None).unwrap_err();
    assert!(
        message.contains(r#"no weights under the key "x""#),
        "{message}"
    );
    assert!(message.contains(r#""nets.g" (1 tensors)"#), "{message}");
}

/// Names of the tensors that are taken, and what was passed over.
fn taken(object: &Value, ema: Option<bool>) -> (Vec<String>, Vec<String>) {
    let choice = Choice {
        ema,
        ..Choice::default()
    };
    let weights = choose_with(object, &choice).unwrap();
    let name = |t: &Tensor| {
        let outer = &weights.parts[t.part][weights.keys.len()..];
        [outer, std::slice::from_ref(&t.source_name)]
            .concat()
            .join(".")
    };
    (
        weights.tensors.iter().map(name).collect(),
        weights.passed_over,
    )
}

#[test]
fn without_a_known_key_all_belong_together() {
    assert_eq!(chosen(&dict(&[("g", small())])).keys, ["g"]);
    for d in [small(), large()] {
        let weights = chosen(&dict(&[("g", small()), ("d", d)]));
        assert_eq!(weights.parts, [["g"], ["d"]]);
        assert!(weights.keys.is_empty() && weights.passed_over.is_empty());
    }
    let nested = dict(&[("nets", dict(&[("g", small()), ("d", large())]))]);
    assert_eq!(chosen(&nested).keys, ["nets"]);
    let beside = dict(&[
        ("log_std", vector("5", 2)),
        ("reward", view(storage("FloatStorage", "6", 1), 0, &[], &[])),
        ("actor", small()),
        ("optimizer", large()),
    ]);
    let weights = chosen(&beside);
    assert_eq!(taken(&beside, None).0, ["log_std", "actor.w"]);
    assert_eq!(weights.left_out, ["reward"]);
    // Beside what is called the network, others are no part of it.
    let known = dict(&[("mean", vector("5", 2)), ("model", small()), ("d", large())]);
    let weights = chosen(&known);
    assert_eq!(weights.keys, ["model"]);
    assert_eq!(
        (weights.passed_over, weights.left_out),
        (vec!["d".into()], vec!["mean".into()])
    );
    let whole = Choice {
        key: Some(Key::Joined(String::new())),
        ..Choice::default()
    };
    let weights = choose_with(&known, &whole).unwrap();
    assert_eq!(weights.parts, [vec![], vec!["model".to_owned()]]);
    assert!(weights.left_out.is_empty());
}

#[test]
fn copies_of_one_size_are_asked_about() {
    for (a, b) in [
        ("student", "teacher"),
        ("actor", "actor_target"),
        ("best", "net"),
    ] {
        let pair = dict(&[(a, small()), (b, small()), ("c", large())]);
        refused(&pair, "choose one with --key NAME");
        assert_eq!(key(&pair, Some(b), None).unwrap(), b);
        let others = dict(&[(a, small()), (b, large())]);
        assert_eq!(chosen(&others).parts.len(), 2);
    }
}

#[test]
fn averages_stand_for_what_they_are_averages_of() {
    let gan = dict(&[("g", small()), ("d", large()), ("g_ema", small())]);
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        taken(&gan, None),
        (names(&["d.w", "g_ema.w"]), names(&["g"]))
    );
    assert_eq!(
        taken(&gan, Some(false)),
        (names(&["g.w", "d.w"]), names(&["g_ema"]))
    );
    assert_eq!(key(&gan, Some("g"), None).unwrap(), "g");
    let params = dict(&[("params", small()), ("params_ema", small())]);
    assert_eq!(key(&params, None, None).unwrap(), "params_ema");
    let flat = dict(&[
        ("online_model.w", vector("0", 3)),
        ("ema_model.w", vector("1", 3)),
        ("step", vector("2", 1)),
    ]);
    let ema = dict(&[("model", large()), ("ema", flat)]);
    assert_eq!(
        taken(&ema, None),
        (
            names(&["ema_model.w", "step"]),
            names(&["model", "ema.online_model"])
        )
    );
    let (inside, path) = (Some("ema.online_model"), ["ema", "online_model"]);
    for given in [inside, Some("online_model")] {
        let choice = Choice {
            key: given.map(|key| Key::Joined(key.into())),
            ..Choice::default()
        };
        let weights = choose_with(&ema, &choice).unwrap();
        assert_eq!(
            (weights.inside.as_str(), &weights.keys[..]),
            ("online_model.", &path.map(String::from)[..])
        );
        assert_eq!(weights.tensors.len(), 1);
        let again = Choice {
            key: Some(Key::Path(weights.keys)),
            ..Choice::default()
        };
        assert_eq!(choose_with(&ema, &again).unwrap().inside, "online_model.");
    }
    let wrapped = dict(&[(
        "state_dict",
        dict(&[
            ("net.model_ema.w", vector("0", 3)),
            ("net.model.w", vector("1", 3)),
        ]),
    )]);
    assert!(chosen(&wrapped).averaged);
    assert_eq!(taken(&wrapped, Some(false)).1, ["state_dict.net.model_ema"]);
}

#[test]
fn what_mmengine_exchanged_is_told_by_its_count_of_steps() {
    let file = |count: &str| {
        dict(&[
            ("state_dict", dict(&[("w", vector("0", 3))])),
            (
                "ema_state_dict",
                dict(&[("module.w", vector("1", 3)), (count, vector("2", 1))]),
            ),
        ])
    };
    for (count, average, plain) in [
        ("steps", "state_dict", "ema_state_dict"),
        ("n_averaged", "ema_state_dict", "state_dict"),
    ] {
        for (ema, key) in [(None, average), (Some(true), average), (Some(false), plain)] {
            let choice = Choice {
                ema,
                ..Choice::default()
            };
            let weights = choose_with(&file(count), &choice).unwrap();
            assert_eq!(weights.keys, [key], "{count} {ema:?}");
            assert_eq!(weights.averaged, key == average, "{count} {ema:?}");
        }
    }
}

#[test]
fn the_state_of_a_training_run_is_no_weights() {
    for name in [
        "optimizer",
        "Optim_state",
        "lr_scheduler",
        "grad_scaler",
        "rng",
        "callbacks",
    ] {
        refused(&dict(&[(name, small())]), "no weights found");
        assert_eq!(
            chosen(&dict(&[(name, large()), ("x", small())]))
                .keys
                .join("."),
            "x"
        );
    }
    let mut deep = small();
    for _ in 0..8 {
        deep = dict(&[("a", deep)]);
    }
    assert_eq!(chosen(&deep).keys.join("."), "a.a.a.a.a.a.a.a");
    refused(&dict(&[("a", deep)]), "no weights found");
    refused(&dict(&[(&"k".repeat(1025), small())]), "no weights found");
    refused(
        &Value::List(vec![small()]),
        "no weights found: it holds a list",
    );
}

/// An object that holds a network of some numbers.
fn network(numbers: i64) -> Value {
    let made = call("nets", "Net", vec![]).pickle();
    let state = dict(&[("w", vector("9", numbers))]).pickle();
    let body = |pickle: &[u8]| pickle[2..pickle.len() - 1].to_vec();
    Value::Raw([body(&made), body(&state), b"b".to_vec()].concat())
}

/// What an unknown function makes of a tensor.
fn rebuilt() -> Value {
    call("nets", "rebuild", vec![vector("8", 1)])
}

#[test]
fn objects_beside_the_weights_are_left_out_by_name() {
    let config = || call("app", "Config", vec![]);
    for (object, left_out) in [
        (
            dict(&[("state_dict", small()), ("cfg", config())]),
            &["object of app.Config"][..],
        ),
        (
            dict(&[("state_dict", small()), ("loss", network(9))]),
            &["object of nets.Net"],
        ),
        (
            dict(&[("w", vector("0", 3)), ("cfg", config())]),
            &["cfg", "object of app.Config"],
        ),
        (
            dict(&[("w", vector("0", 3)), ("loss", network(2))]),
            &["loss", "object of nets.Net"],
        ),
        (
            dict(&[("w", vector("0", 3)), ("optimizer", network(9))]),
            &["optimizer", "object of nets.Net"],
        ),
        (
            dict(&[("a", small()), ("optimizer", network(9))]),
            &["object of nets.Net"],
        ),
        (
            dict(&[
                ("a", small()),
                ("b", call("torch.optim.sgd", "SGD", vec![vector("7", 9)])),
            ]),
            &["object of torch.optim.sgd.SGD"],
        ),
        (
            dict(&[("state_dict", small()), ("model", network(9))]),
            &["object of nets.Net"],
        ),
    ] {
        let weights = chosen(&object);
        assert_eq!(weights.tensors.len(), 1);
        assert_eq!(weights.left_out, left_out);
        assert_eq!(weights.candidates.len(), 1);
    }
    let names: Vec<&'static str> = (0..40).map(|i| &*format!("C{i}").leak()).collect();
    let many = names.iter().map(|name| call("app", name, vec![])).collect();
    let weights = chosen(&dict(&[("state_dict", small()), ("x", Value::List(many))]));
    assert_eq!(weights.left_out.len(), 17);
    assert_eq!(weights.left_out[16], "objects of more classes");
}

#[test]
fn weights_in_an_object_are_refused() {
    let code = |name: &str| format!("holds code, not only data (global {name:?})");
    for (object, name) in [
        (network(3), "nets.Net"),
        (
            dict(&[
                ("model", network(3)),
                ("cfg", call("app", "Config", vec![])),
            ]),
            "nets.Net",
        ),
        (
            dict(&[
                ("cfg", call("app", "Config", vec![])),
                ("nets", Value::List(vec![network(3)])),
            ]),
            "app.Config",
        ),
        (
            call("argparse", "Namespace", vec![small()]),
            "argparse.Namespace",
        ),
        (call("app", "Dict", vec![small()]), "app.Dict"),
        (dict(&[("w", rebuilt())]), "nets.rebuild"),
        (
            dict(&[
                ("epoch", Value::Int(3)),
                ("cfg", call("app", "Config", vec![])),
            ]),
            "app.Config",
        ),
        (
            dict(&[("loss", vector("0", 1)), ("net", network(3))]),
            "nets.Net",
        ),
    ] {
        refused(&object, &code(name));
    }
    for inside in [
        dict(&[("w", vector("0", 3)), ("x", rebuilt())]),
        dict(&[
            ("w", vector("0", 3)),
            (
                "x",
                call("torch._utils", "_rebuild_parameter", vec![rebuilt()]),
            ),
        ]),
    ] {
        refused(
            &inside,
            r#"(global "nets.rebuild"), which makes the tensor "x""#,
        );
    }
    // The network is larger than what stands beside it, so that it is meant.
    let larger = dict(&[("net", network(9)), ("mean", small())]);
    refused(
        &larger,
        r#"(global "nets.Net"), with the weights under the key "net"; accepted: "mean" (1 tensors)"#,
    );
    assert_eq!(key(&larger, Some("mean"), None).unwrap(), "mean");
    assert!(
        key(&larger, Some("net"), None)
            .unwrap_err()
            .contains("holds code")
    );
    let averaged = dict(&[("ema", network(3)), ("state_dict", small())]);
    refused(&averaged, r#"with the weights under the key "ema""#);
    assert_eq!(key(&averaged, None, Some(false)).unwrap(), "state_dict");
}

#[test]
fn what_stands_beside_the_weights_is_written_down() {
    let ordered = |entries: &[(&str, Value)]| {
        let made = call("collections", "OrderedDict", vec![]).pickle();
        let pairs = dict(entries).pickle();
        let body = |pickle: &[u8]| pickle[2..pickle.len() - 1].to_vec();
        // The items of the dictionary, set on the ordered one.
        Value::Raw([body(&made), body(&pairs)[1..].to_vec()].concat())
    };
    let plain = dict(&[
        ("lr", Value::Float(0.1)),
        ("loss", call("app", "Loss", vec![])),
    ]);
    let object = dict(&[
        ("epoch", Value::Int(3)),
        (
            "state_dict",
            ordered(&[("w", vector("0", 3)), ("steps", Value::Int(1))]),
        ),
        ("hyper_parameters", plain),
        (
            "sizes",
            Value::Tuple(vec![Value::Int(1), Value::Float(f64::INFINITY)]),
        ),
        (
            "names",
            Value::List(vec![text("a\"b"), Value::None, Value::Bool(true)]),
        ),
        (
            "optimizer",
            dict(&[
                ("state", dict(&[("m", vector("1", 9))])),
                ("lr", Value::Float(0.1)),
            ]),
        ),
        (
            "set",
            call("builtins", "set", vec![Value::List(vec![Value::Int(1)])]),
        ),
    ]);
    let rest = chosen(&object).rest;
    assert_eq!(
        rest.text.unwrap(),
        r#"{"dict":[["epoch",3],["state_dict",{"ordered":[["steps",1]]}],["hyper_parameters",{"dict":[["lr",0.1]]}],["sizes",{"tuple":[1,Infinity]}],["names",["a\"b",null,true]]]}"#
    );
    assert_eq!(rest.lost, ["loss", "optimizer", "set"]);
}

#[test]
fn what_shares_values_without_end_is_not_written_down() {
    let mut deep = dict(&[("x", Value::Int(1))]).pickle();
    deep.pop();
    for _ in 0..60 {
        // The dictionary before, twice in a new one.
        deep.splice(0..2, []);
        deep = [b"\x80\x02}(U\x01a", &deep[..], b"q\x00U\x01bh\x00u"].concat();
    }
    deep.push(b'.');
    let body = deep[2..deep.len() - 1].to_vec();
    let weights = chosen(&dict(&[("state_dict", small()), ("x", Value::Raw(body))]));
    assert_eq!(weights.rest.text, None);
}

fn array(kind: &str, shape: &[i64], fortran: bool, data: Value) -> Value {
    let body = |value: &Value| {
        let pickle = value.pickle();
        pickle[2..pickle.len() - 1].to_vec()
    };
    let class = Value::Global("numpy", "ndarray");
    let made = call(
        "numpy.core.multiarray",
        "_reconstruct",
        vec![class, ints(&[0]), Value::Bytes(b"b".to_vec())],
    );
    let dtype = call(
        "numpy",
        "dtype",
        vec![text(kind), Value::Bool(false), Value::Bool(true)],
    );
    let order = Value::Tuple(vec![Value::Int(3), text("<")]);
    let dtype = Value::Raw([body(&dtype), body(&order), b"b".to_vec()].concat());
    let state = vec![
        Value::Int(1),
        ints(shape),
        dtype,
        Value::Bool(fortran),
        data,
    ];
    Value::Raw([body(&made), body(&Value::Tuple(state)), b"b".to_vec()].concat())
}

#[test]
fn arrays_are_tensors() {
    let bytes = |len: usize| Value::Bytes(vec![7; len]);
    let latin1 = |text_: &str| call("_codecs", "encode", vec![text(text_), text("latin1")]);
    let object = dict(&[
        ("c", array("f4", &[2, 3], false, bytes(24))),
        ("fortran", array("f8", &[2, 3], true, bytes(48))),
        (
            "text",
            array("i2", &[2], false, latin1("\u{ff}\u{0}\u{80}a")),
        ),
        (
            "empty",
            array("f4", &[0, 3], false, call("builtins", "bytes", vec![])),
        ),
        ("scalar", array("b1", &[], false, bytes(1))),
        (
            "object",
            array("O8", &[1], false, Value::List(vec![Value::None])),
        ),
        ("wide", array("c16", &[1], false, bytes(16))),
    ]);
    let weights = chosen(&object);
    assert_eq!(weights.left_out, ["object", "wide"]);
    let seen: Vec<_> = weights
        .tensors
        .iter()
        .map(|t| (&*t.name, t.dtype.name(), &t.shape[..], t.strides.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            ("c", "F32", &[2, 3][..], None),
            ("fortran", "F64", &[2, 3], Some(vec![1, 2])),
            ("text", "I16", &[2], None),
            ("empty", "F32", &[0, 3], None),
            ("scalar", "BOOL", &[], None),
        ]
    );
    let pickle = object.pickle();
    let at = weights.tensors[0].offset as usize;
    assert_eq!(pickle[at..at + 24], [7; 24]);
    assert_ne!(pickle[at - 1], 7);
    let text = &weights.storages[weights.tensors[2].storage];
    let Begin::Text { at, len, .. } = text.begin else {
        panic!("{text:?}")
    };
    assert_eq!(
        &pickle[at as usize..(at + len) as usize],
        "\u{ff}\u{0}\u{80}a".as_bytes()
    );
    assert_eq!(text.len, 4);
    let wrong = |data| dict(&[("w", array("f4", &[2], false, data))]);
    refused(
        &wrong(bytes(7)),
        r#"the tensor "w" is a NumPy array of shape [2] with 7 bytes; accepted: 8 bytes"#,
    );
    refused(
        &wrong(latin1("aaaaaaa\u{ff}\u{ff}")),
        "with 9 bytes; accepted: 8 bytes",
    );
    refused(
        &wrong(call("builtins", "bytes", vec![])),
        "with no bytes; accepted: 8 bytes",
    );
    let huge = array("f4", &[i64::MAX, 8], false, bytes(8));
    refused(&dict(&[("w", huge)]), "overflows");
}

#[test]
fn arrays_are_weights_only_where_there_are_no_tensors() {
    let arrays = dict(&[("obs", array("f4", &[9], false, Value::Bytes(vec![0; 36])))]);
    assert_eq!(
        chosen(&dict(&[("net", small()), ("buffer", arrays.clone())])).keys,
        ["net"]
    );
    assert_eq!(
        key(
            &dict(&[("net", small()), ("buffer", arrays.clone())]),
            Some("buffer"),
            None
        )
        .unwrap(),
        "buffer"
    );
    assert_eq!(chosen(&dict(&[("a", arrays)])).keys, ["a"]);
}

/// Pieces of pickles, of which any sequence must be read or refused.
const PIECES: [&[u8]; 56] = [
    b"(", b"0", b"1", b"2", b"N", b"\x88", b"K\x01", b"K\x00", b"U\x01w", b"U\x02f8", b"C\x01x",
    b"U\x07storage", b")", b"]", b"}", b"a", b"e", b"s", b"u", b"t", b"\x85", b"\x86", b"\x87",
    b"R", b"b", b"\x81", b"\x92", b"Q", b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"l", b"d",
    b"\x8f", b"\x90", b"\x91", b"\x94",
    b"ccollections\nOrderedDict\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_tensor\n",
    b"ctorch._utils\n_rebuild_qtensor\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"cnumpy\ndtype\n",
    b"cos\nsystem\n",
    b"(ios\nsystem\n",
    b"o",
    b"\x82\x01",
    b"Px\n",
    b"cnumpy\nndarray\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.numeric\n_frombuffer\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"c_codecs\nencode\n",
    b"U\x01wctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nFloatStorage\nU\x010NK\x02tQK\x00K\x02\x85K\x01\x85tR",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_opcodes_panics(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40)
    ) {
        let mut bytes = b"}(".to_vec();
        bytes.extend(pieces.concat());
        for end in [&b"."[..], b"u."] {
            let cancel = Cancel::default();
            let bytes = [&bytes[..], end].concat();
            let mut machine = Machine::new(Cursor::over(bytes, 0), &cancel);
            let place = |_: &Values<'_>, storage: &StorageRef| Ok(Storage {
                file: 0,
                begin: Begin::At(0),
                len: storage.bytes,
                crc: None,
            });
            let container = Container { format: Format::Torch, file_len: FILE_LEN, pickle: pickle(), place: &place };
            if let Ok(object) = machine.load() {
                let _ = choose(&machine.values, object, &Choice::default(), &container);
            }
        }
    }
}
