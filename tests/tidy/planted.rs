//! Each check on a small tree with a planted fault, and on the same tree without it.

use std::fmt::Write as _;

use crate::checks::*;
use crate::reading::split;
use crate::tree::Tree;

/// A tree of `(path, text)`.
fn tree(files: &[(&str, &str)]) -> Tree {
    Tree(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect(),
    )
}

/// `check` gives exactly these complaints, each known by a part of it.
fn check(complaints: &[String], expected: &[&str]) {
    let mut shown = String::new();
    for complaint in complaints {
        let _ = writeln!(shown, "  {complaint}");
    }
    assert_eq!(complaints.len(), expected.len(), "\n{shown}");
    for part in expected {
        assert!(
            complaints.iter().any(|complaint| complaint.contains(part)),
            "no complaint has `{part}`:\n{shown}"
        );
    }
}

#[test]
fn planted_missing_header() {
    let files = tree(&[
        ("src/lib.rs", "//! What this is.\n"),
        ("src/a.rs", "use x;\n//! Too late to count.\n"),
        ("cli/src/main.rs", "//! Short\n"),
        ("perf/src/b.rs", ""),
        ("notes/free.rs", ""),
        ("src/lane/mod.rs", "#![doc = include_str!(\"README.md\")]"),
        ("src/lane/README.md", "# The lane"),
        ("src/gate/mod.rs", "#![doc = include_str!(\"README.md\")]"),
    ]);
    check(
        &headers(&files),
        &[
            "src/a.rs:1",
            "cli/src/main.rs:1",
            "perf/src/b.rs:1",
            "src/gate/mod.rs:1",
        ],
    );
}

#[test]
fn planted_import_against_the_arrows() {
    let table: &[(&str, &[&str])] = &[("lane", &[]), ("worker", &["lane"]), ("sync", &[])];
    let sync = ("src/sync/mod.rs", "");
    let worker = (
        "src/worker/mod.rs",
        "use crate::{lane::{Ring, Slot}, sync::{fence, park as sleep}};\nmod x { use super::*; }",
    );
    check(
        &arrows(
            &tree(&[sync, worker, ("src/lane/mod.rs", "// crate::worker")]),
            table,
        ),
        &[],
    );

    let faults = "use crate::{sync::{self, fence}, worker::Stop};\nfn f() -> super::worker::Loop {}\nlet s = \"crate::worker\";\nuse crate::Ring;\ncrate::check!(1);";
    check(
        &arrows(&tree(&[sync, worker, ("src/lane/mod.rs", faults)]), table),
        &[
            "lane/mod.rs:1: lane may not import worker",
            "lane/mod.rs:2: lane may not",
            "lane/mod.rs:4: takes `Ring`",
        ],
    );
    let deep = (
        "src/lane/ring/tests.rs",
        "use super::super::super::worker::A;\nuse super::super::worker::B;",
    );
    check(
        &arrows(&tree(&[sync, worker, deep]), table),
        &["tests.rs:1: lane may not import worker"],
    );
    check(
        &arrows(&tree(&[sync, worker]), table),
        &[
            "`lane` has a row but no module",
            "mod.rs:1: takes `lane`",
            "mod.rs:1: takes `lane`",
        ],
    );
    let stray = ("src/stray.rs", "");
    check(
        &arrows(&tree(&[sync, worker, ("src/lane.rs", ""), stray]), table),
        &["src/stray: has no row"],
    );
}

#[test]
fn planted_difference_from_the_drawing() {
    let drawn = |rows: &str| {
        tree(&[(
            "ARCHITECTURE.md",
            &format!("# A\n<!-- arrows -->\n\n{rows}\n"),
        )])
    };
    let page =
        "| module | imports |\n|---|---|\n| `lane` | |\n| `worker` | `lane` |\n\n| `other` | |";
    let table: &[(&str, &[&str])] = &[("lane", &[]), ("worker", &["lane"])];
    check(&arrows_as_drawn(&drawn(page), table), &[]);
    check(
        &arrows_as_drawn(&drawn(page), &table[..1]),
        &["`worker` is in its table"],
    );
    check(
        &arrows_as_drawn(&drawn("| `lane` | |"), table),
        &["no row for `worker`"],
    );
    check(
        &arrows_as_drawn(&drawn("| `lane` | |\n| `worker` | |"), table),
        &["`worker` imports {}"],
    );
    let circle: &[(&str, &[&str])] = &[("lane", &["worker"]), ("worker", &["lane"])];
    let page = "| `lane` | `worker` |\n| `worker` | `lane` |";
    check(
        &arrows_as_drawn(&drawn(page), circle),
        &["lane, worker go in a circle"],
    );
}

#[test]
fn planted_thread_outside_sync() {
    let files = tree(&[
        (
            "src/sync/mod.rs",
            "use std::sync::atomic::AtomicU64; use std::thread;",
        ),
        (
            "src/a.rs",
            "use std::{sync::{Arc, atomic::fence}, thread::spawn};\nuse std::sync::Arc;",
        ),
        (
            "src/b.rs",
            "fn f() {\n    std::time::Instant::now();\n    // std::thread\n    \"std::thread\";\n}",
        ),
        (
            "src/c.rs",
            "let t = ::core::sync::atomic::AtomicU8::new(0); use std::time::Instant;",
        ),
        ("tests/it.rs", "use std::thread;"),
    ]);
    check(
        &behind_sync(&files),
        &[
            "src/a.rs:1: names `std::sync::atomic`",
            "src/a.rs:1: names `std::thread`",
            "src/b.rs:2",
            "src/c.rs:1",
        ],
    );
}

#[test]
fn planted_unsafe_away_from_home() {
    let allow = "#![allow(unsafe_code, reason = \"why\")]";
    let files = tree(&[
        ("src/lane/ring.rs", allow),
        ("src/event/payload.rs", allow),
        (
            "src/lib.rs",
            "#![deny(unsafe_code)]\n// #![allow(unsafe_code)]",
        ),
        ("src/event/id.rs", allow),
        ("src/lanes.rs", "#[expect(unsafe_code)] fn f() {}"),
    ]);
    check(
        &unsafe_homes(&files),
        &["src/event/id.rs:1", "src/lanes.rs:1"],
    );
}

#[test]
fn planted_edge_without_row_or_model() {
    let lock_free = &[("lane", 'L')][..];
    let readme = "# The lane\n- **L1** one end.\n| L2 | full |\n\n| edge | release | model |\n|---|---|---|\n| `[publish]` | push | `l1_push` |\n";
    let models = "fn l1_push() {}\nfn l2_full() {}\n// fn l3_not_there() {}";
    let code = "// Release [publish]: makes the slot seen (L1).\nlet a = slots[index]; // see slots[index]\n// Acquire [publish], L2.\n/// [other] and a [link](there).\n";
    let check_with = |readme: &str, models: &str, code: &str, expected: &[&str]| {
        let files = tree(&[
            ("src/lane/README.md", readme),
            ("loom-tests/src/lib.rs", models),
            ("src/lane/mod.rs", code),
        ]);
        check(&edges_and_invariants(&files, lock_free), expected);
    };
    check_with(readme, models, code, &[]);
    check_with(
        readme,
        models,
        &format!("{code}// Acquire [reuse].\n"),
        &["mod.rs:5: the edge [reuse] has no row"],
    );
    check_with(
        readme,
        models,
        &format!("{code}/// Keeps L3.\n"),
        &["mod.rs:5: the invariant L3 has no row"],
    );
    check_with(
        readme,
        "fn l1_push() {}",
        code,
        &["the invariant L2 has no model"],
    );
    check_with(
        readme,
        "fn l1_x() {} fn l2_full() {}",
        code,
        &["names the model `l1_push`"],
    );
    check_with(
        &readme.replace("`l1_push`", ""),
        models,
        code,
        &["names no model"],
    );
    check_with(
        readme,
        models,
        "// Release [publish].\n",
        &["[publish] is named at 1 places"],
    );

    let nothing = tree(&[("src/lane/mod.rs", "")]);
    check(
        &edges_and_invariants(&nothing, lock_free),
        &["src/lane: has no README.md"],
    );
    let other = tree(&[
        ("src/lane/README.md", ""),
        ("src/gate/README.md", "- **G1** shut."),
        ("src/gate/mod.rs", "// G1, G2"),
    ]);
    check(
        &edges_and_invariants(&other, lock_free),
        &[
            "the invariant G1 has no model",
            "mod.rs:1: the invariant G2 has no row",
        ],
    );
}

#[test]
fn planted_model_without_a_twin() {
    let readme = "| L1 | one end | |\n\n| `[publish]` | push | `l1_edge_publish_x` |\n";
    let model = "#[test]\nfn l1_edge_publish_x() {}\n";
    let twin = "#[test]\n#[should_panic(expected = \"torn\")]\nfn l1_edge_publish_twin_x() {}\n";
    let check_with = |readme: &str, models: String, expected: &[&str]| {
        let files = tree(&[
            ("src/lane/README.md", readme),
            ("loom-tests/src/models/lane.rs", models.as_str()),
        ]);
        check(&models_and_twins(&files), expected);
    };
    check_with(readme, format!("{model}{twin}fn helper() {{}}"), &[]);
    check_with(
        readme,
        model.to_owned(),
        &["[publish] has no twin", "l1 has no twin"],
    );
    check_with(
        readme,
        twin.to_owned(),
        &["[publish] has no model", "l1 has no model"],
    );
    check_with(
        readme,
        format!("{model}{}", twin.replace("(expected = \"torn\")", "")),
        &["lane.rs:5: `l1_edge_publish_twin_x` is a twin"],
    );
    check_with(
        readme,
        format!("{model}{twin}{}", twin.replace("_twin", "_other")),
        &["lane.rs:8: `l1_edge_publish_other_x` fails"],
    );
    check_with(
        readme,
        format!("{model}{twin}#[test]\nfn l2_x() {{}}\n#[test]\nfn l1_edge_reuse_x() {{}}"),
        &[
            "lane.rs:7: `l2_x` is named after l2",
            "lane.rs:9: `l1_edge_reuse_x` is named after [reuse]",
        ],
    );
}

#[test]
fn planted_assumption_without_a_test() {
    let check_with = |real: &str, models: &str, expected: &[&str]| {
        let files = tree(&[
            (
                "src/lane/README.md",
                "| A1 | once | |\n| A2 | in order | |\n",
            ),
            ("src/lane/assumed.rs", real),
            ("loom-tests/src/models/queue.rs", models),
        ]);
        check(&models_and_twins(&files), expected);
    };
    let models = "#[test]\nfn a1_x() {}\n#[test]\nfn a2_x() {}\n";
    check_with("#[test]\nfn a1_a2_x() {}\n", models, &[]);
    check_with("#[test]\nfn a1_x() {}\n", models, &["a2 has no test"]);
    check_with(models, "#[test]\nfn a2_x() {}\n", &["a1 has no model"]);
}

#[test]
fn planted_ordering_without_an_edge() {
    let check_with = |code: &str, expected: &[&str]| {
        check(&orderings(&tree(&[("src/lane/ring.rs", code)])), expected);
    };
    check_with(
        "// Release [a]: seen.\nx\n    .store(1, Ordering::Release);",
        &[],
    );
    check_with(
        "// Acquire [a].\nx.swap(\n    1,\n    Ordering::AcqRel,\n);",
        &[],
    );
    check_with(
        "fence(Ordering::SeqCst); x.load(Ordering::Relaxed); // Ordering::Release",
        &[],
    );
    check_with("x.store(1, Ordering::Release);", &["ring.rs:1"]);
    check_with("// Because.\nx.load(Ordering::Acquire);", &["ring.rs:2"]);
    check_with(
        "// Release [a].\nx.store(1, Ordering::Release);\ny.store(1, Ordering::Release);",
        &["ring.rs:3"],
    );
}

#[test]
fn planted_promise_without_a_test() {
    let files = tree(&[
        (
            "tests/it/publish.rs",
            "fn pd1_admitted() {}\n// fn pd2_order() {}\nconst T: &str = \"fn pd3_x\";",
        ),
        (
            "src/worker/tests.rs",
            "proptest! { #[test] fn pd4_full(n in 0..9) {} }",
        ),
        ("cli/src/main.rs", "fn pd10_sleeps() {}"),
    ]);
    let expected = &["PD2: no test", "PD3: no test", "PD10: no test"];
    check(
        &promises(&files, &["pd1", "pd2", "pd3", "pd4", "pd10"]),
        expected,
    );
}

#[test]
fn planted_promise_untold() {
    let files = tree(&[(
        "README.md",
        "**PD1**: all. **Read** PD2, **PD10**, **L1**, **TCP4**\n",
    )]);
    check(&promises_told(&files, &["pd1", "pd10"]), &[]);
    check(
        &promises_told(&files, &["pd1", "pd2"]),
        &["does not tell **PD2**", "tells **PD10**"],
    );
}

#[test]
fn planted_ignored_fence() {
    let fence = "`".repeat(3);
    let ignored = format!("{fence}rust,ignore\n{fence}\n");
    let files = tree(&[
        (
            "README.md",
            &format!("{fence}rust\n// ignore\n{fence}\nignore this\n"),
        ),
        ("docs/a.md", &ignored),
        (
            "src/a.rs",
            &format!("/// {fence}ignore\n/// {fence}\n//! {fence}text\n"),
        ),
    ]);
    check(&ignored_fences(&files), &["docs/a.md:1", "src/a.rs:1"]);
}

#[test]
fn planted_machine_path() {
    let named = |folder: &str| format!("first\ncat {folder}/notes\n");
    let files = tree(&[
        ("a.md", &named("/wor\u{6b}")),
        ("b.rs", &named("\"/tm\u{70}")),
        (
            "c.toml",
            "publishers/workers src/worker/mod.rs ${dir}/tmp a/work https://x.org/tmp $TMPDIR",
        ),
    ]);
    check(&machine_paths(&files), &["a.md:2", "b.rs:2"]);
}

#[test]
fn planted_dead_link() {
    let files = tree(&[
        (
            "README.md",
            "[a](docs/a.md#part), [d](docs), [w](https://x.org), [x](docs/b.md)",
        ),
        (
            "docs/a.md",
            "[up](../README.md) [self](#part) [item](crate::Event)\n[x](README.md)",
        ),
    ]);
    check(
        &links(&files),
        &["README.md:1: the link to `docs/b.md`", "docs/a.md:2"],
    );
}

#[test]
fn planted_number_without_a_record() {
    let plain = "About 12 ns an event.\n\nSlots of 128 bytes.\n\n| a | 3 million |\n";
    check(
        &unrecorded_numbers(&tree(&[("README.md", plain)])),
        &["README.md:1", "README.md:5"],
    );
    let linked =
        "About 12 ns an event ([record](perf/record/a.json)).\n\n```text\n12 ns\n\n13 ns\n```\n";
    check(&unrecorded_numbers(&tree(&[("README.md", linked)])), &[]);
}

#[test]
fn code_and_comments_come_apart() {
    let source = "let a = 'x'; let b: &'static str = \"// no\"; // yes\nlet c = r#\"\"fn\"#; let d = '\\''; /* one\n/* two */ */ let e = b\"\\\"\";\nlet bar = br\"\\\"; end";
    let parts = split(source);
    assert_eq!(parts.code.lines().count(), source.lines().count());
    let words: Vec<String> = parts.code.split_whitespace().map(str::to_owned).collect();
    let code = "let a = ; let b: &'static str = ; let c = ; let d = ; let e = b ; let bar = ; end";
    assert_eq!(words.join(" "), code);
    let comments: Vec<(usize, &str)> = parts
        .comments
        .iter()
        .map(|c| (c.line, c.text.as_str()))
        .collect();
    assert_eq!(
        comments,
        [(1, "// yes"), (2, "/* one"), (3, "/* two */ */")]
    );
}
