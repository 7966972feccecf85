use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(names: &[&str], want: &[&str], removed: &[(&str, usize)]) {
    let plain = plain(names).unwrap();
    assert_eq!(plain.names, want);
    let removed: Vec<(String, usize)> = removed.iter().map(|&(w, n)| (w.to_owned(), n)).collect();
    assert_eq!(plain.removed, removed);
}

#[test]
fn plain_names_stay() {
    check(&[], &[], &[]);
    check(&["a.weight", "b"], &["a.weight", "b"], &[]);
    check(&["module"], &["module"], &[]);
    check(&["a.module"], &["a.module"], &[]);
    check(&["module", "x"], &["module", "x"], &[]);
}

#[test]
fn wrappers_are_removed_anywhere() {
    check(
        &[
            "_orig_mod.a.w",
            "b._fsdp_wrapped_module._checkpoint_wrapped_module.w",
        ],
        &["a.w", "b.w"],
        &[
            ("_orig_mod.", 1),
            ("_fsdp_wrapped_module.", 1),
            ("_checkpoint_wrapped_module.", 1),
        ],
    );
    check(&["_orig_mod"], &["_orig_mod"], &[]);
    check(
        &["_orig_mod._orig_mod"],
        &["_orig_mod"],
        &[("_orig_mod.", 1)],
    );
}

#[test]
fn a_module_that_all_names_begin_with_is_a_wrapper() {
    check(
        &["module.a", "module.b.w"],
        &["a", "b.w"],
        &[("module.", 2)],
    );
    check(&["module.module.a"], &["a"], &[("module.", 1)]);
    check(
        &["_orig_mod.module.a", "_orig_mod.module.b"],
        &["a", "b"],
        &[("_orig_mod.", 2), ("module.", 2)],
    );
    check(
        &["module._orig_mod.a"],
        &["a"],
        &[("_orig_mod.", 1), ("module.", 1)],
    );
    check(
        &["module.module", "module.x"],
        &["module", "x"],
        &[("module.", 2)],
    );
    check(&["module.a", "b"], &["module.a", "b"], &[]);
}

#[test]
fn a_module_beside_a_wrapper_is_one_if_it_is_an_only_child() {
    for inner in [
        "e._orig_mod.module.",
        "e.module._fsdp_wrapped_module.",
        "e._orig_mod.module._fsdp_wrapped_module.",
    ] {
        let names = [format!("{inner}w"), format!("{inner}b"), "x".into()];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(plain(&names).unwrap().names, ["e.w", "e.b", "x"]);
    }
    check(
        &["e._orig_mod.module.w", "e._orig_mod.norm.w"],
        &["e.module.w", "e.norm.w"],
        &[("_orig_mod.", 2)],
    );
    check(
        &["e.module._orig_mod.w", "e.module.b"],
        &["e.module.w", "e.module.b"],
        &[("_orig_mod.", 1)],
    );
}

#[test]
fn a_module_inside_a_network_is_its_own() {
    for names in [
        &["0.module.weight", "0.module.bias", "1.weight"][..],
        &["e.module.module.w", "b.w"],
        &["x.module.a", "x.b"],
    ] {
        check(names, names, &[]);
    }
    check(
        &["module.0.module.weight", "module.1.weight"],
        &["0.module.weight", "1.weight"],
        &[("module.", 2)],
    );
}

#[test]
fn the_counter_of_an_average_is_no_sibling() {
    let names = ["n_averaged", "module.a", "module.b"];
    check(&names, &["n_averaged", "a", "b"], &[("module.", 2)]);
    let inner = ["x.n_averaged", "x.module.a"];
    check(&inner, &inner, &[]);
    let ddp = ["module.n_averaged", "module.module.a"];
    check(&ddp, &["n_averaged", "a"], &[("module.", 2)]);
}

#[test]
fn adapters_lose_their_prefix_if_all_have_it() {
    check(
        &["base_model.model.a.lora_A", "base_model.model.b"],
        &["a.lora_A", "b"],
        &[("base_model.model.", 2)],
    );
    check(
        &["base_model.model.a", "b"],
        &["base_model.model.a", "b"],
        &[],
    );
    check(&["base_model.model."], &["base_model.model."], &[]);
}

#[test]
fn names_that_become_one_are_refused() {
    let message = plain(&["a._orig_mod.w", "a.w"]).unwrap_err();
    let want = r#""a.w" is there twice, with and without a wrapper ("a._orig_mod.w", "a.w")"#;
    assert_eq!(message, want);
    assert_eq!(
        plain(&["a", "a"]).unwrap_err(),
        r#""a" is there twice; accepted: once"#
    );
}

#[test]
fn names_of_very_many_components_are_left_alone() {
    let long = "module.".repeat(100_000) + "a";
    check(&[&long], &[&long], &[]);
}

#[test]
fn what_no_tensor_can_be_called_is_not_left_over() {
    let name = "_orig_mod.__metadata__";
    check(&[name, "_orig_mod.a"], &[name, "a"], &[("_orig_mod.", 2)]);
    let name = "base_model.model.__metadata__";
    check(&[name], &[name], &[]);
}

proptest! {
    #[test]
    fn names_stay_different_and_none_gets_empty(
        parts in proptest::collection::hash_set(
            proptest::collection::vec(
                proptest::sample::select(vec!["module", "_orig_mod", "n_averaged", "a", "b"]),
                1..5,
            ),
            1..8,
        )
    ) {
        let names: Vec<String> = parts.iter().map(|parts| parts.join(".")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Ok(once) = plain(&names) {
            prop_assert_eq!(once.names.len(), names.len());
            let refs: Vec<&str> = once.names.iter().map(String::as_str).collect();
            prop_assert!(refs.iter().all(|name| !name.is_empty()));
            prop_assert_eq!(&plain(&refs).unwrap().names, &once.names);
        }
    }

    #[test]
    fn names_without_wrappers_are_what_the_long_way_gives(
        names in proptest::collection::hash_set("(a|module|modules|base_model|model|_orig_mo|_orig_mod|n_averaged|)(\\.(a|module|model|)){0,3}", 1..5)
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        prop_assert_eq!(plain(&names), without_wrappers(&names));
    }
}
