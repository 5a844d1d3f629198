//! Keeps the source as the house wants it: what a reader may rely on without looking is checked here, by text alone.
//!
//! Every check is a function from files to complaints, so each is run twice: on the project, which must give none, and
//! on a small tree with one planted fault, which must give that one. What the project's tables say lives at the top of
//! this file; what they mean is in `ARCHITECTURE.md`. Standard library only, and under a second.

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/reading.rs"]
mod reading;
#[path = "tidy/tree.rs"]
mod tree;

use checks::*;
use tree::project;

/// Which module of `src` may import which others; the same table stands in `ARCHITECTURE.md`. Every one may use itself
/// and `sync`. `lib.rs` and `prelude.rs` only gather names and may use all.
const ARROWS: &[(&str, &[&str])] = &[
    ("event", &["outcome"]),
    ("publish", &["event", "route", "lane", "outcome", "error"]),
    ("route", &["event", "lane", "outcome"]),
    ("lane", &[]),
    (
        "worker",
        &[
            "event",
            "publish",
            "route",
            "lane",
            "handler",
            "outcome",
            "retry",
            "breaker",
            "dead_letter",
            "error_event",
            "metrics",
            "store",
            "error",
        ],
    ),
    (
        "handler",
        &[
            "event",
            "publish",
            "outcome",
            "retry",
            "breaker",
            "dead_letter",
            "metrics",
        ],
    ),
    ("outcome", &[]),
    ("retry", &["outcome"]),
    ("breaker", &["error"]),
    ("dead_letter", &["event", "outcome", "error"]),
    ("error_event", &["event", "outcome"]),
    ("store", &["event", "metrics", "error"]),
    ("projection", &["store", "event", "error"]),
    ("metrics", &["event", "outcome"]),
    (
        "system",
        &[
            "event",
            "publish",
            "route",
            "lane",
            "worker",
            "handler",
            "outcome",
            "retry",
            "breaker",
            "dead_letter",
            "error_event",
            "metrics",
            "store",
            "error",
        ],
    ),
    ("error", &[]),
    ("sync", &[]),
];

/// Files of `src` that only gather names for the outside.
const GATHER: &[&str] = &["src/lib.rs", "src/prelude.rs"];

/// The modules that have a README with numbered invariants and named edges, and the letter of the numbers; others may.
const LOCK_FREE: &[(&str, char)] = &[
    ("lane", 'L'),
    ("worker", 'W'),
    ("sync", 'H'),
    ("route", 'R'),
    ("metrics", 'M'),
    ("breaker", 'B'),
    ("store", 'S'),
];

/// Where `unsafe` may be allowed in `src`.
const UNSAFE_HOMES: &[&str] = &[
    "src/sync",
    "src/lane",
    "src/event/payload.rs",
    "src/store/segment.rs",
];

/// Paths that only `src/sync` may name.
const BEHIND_SYNC: &[&[&str]] = &[
    &["std", "sync", "atomic"],
    &["core", "sync", "atomic"],
    &["std", "thread"],
    &["Instant", "now"],
];

/// Folders whose every Rust file starts with a header.
const WITH_HEADERS: &[&str] = &[
    "src/",
    "macros/",
    "cli/",
    "loom-tests/",
    "perf/",
    "checks/",
    "fuzz/",
    "tests/",
    "examples/",
    "benches/",
];

/// The promises that are kept so far; each has a test whose name starts with its id.
const PROMISES: &[&str] = &[
    "pd1", "pd2", "pd3", "pd4", "pd5", "pd6", "pd7", "pd8", "pd9", "pd10", "pd11", "pd12", "dr1",
    "dr2", "dr4", "ob1", "ob2", "ro1", "ro2", "ro3", "ro4", "ro5", "ro6", "dq1", "dq2", "dq3",
    "dq4", "dq5", "cb1", "cb2", "cb3", "cb4", "cb5", "ev1", "ev2", "ev3", "ev4", "ev5", "ev6",
    "ev7", "ev8", "ev9", "sd1", "sd2", "sd3", "sd4", "sd5", "pc1", "pc2", "pc3", "pc4", "pc5",
    "pc6", "pc7",
];

#[test]
fn every_file_has_its_header() {
    clean(&headers(&project()));
}

#[test]
fn imports_run_along_the_arrows() {
    let tree = project();
    clean(&arrows(&tree, ARROWS));
    clean(&arrows_as_drawn(&tree, ARROWS));
}

#[test]
fn threads_clocks_and_atomics_come_through_sync() {
    clean(&behind_sync(&project()));
}

#[test]
fn unsafe_stays_in_its_homes() {
    clean(&unsafe_homes(&project()));
}

#[test]
fn every_edge_and_invariant_has_its_row_and_its_model() {
    clean(&edges_and_invariants(&project(), LOCK_FREE));
}

#[test]
fn every_edge_and_invariant_has_a_model_and_a_twin_that_fails() {
    clean(&models_and_twins(&project()));
}

#[test]
fn every_ordering_names_its_edge() {
    clean(&orderings(&project()));
}

#[test]
fn every_promise_has_a_test() {
    let tree = project();
    clean(&promises(&tree, PROMISES));
    clean(&promises_told(&tree, PROMISES));
}

#[test]
fn every_example_in_the_documentation_is_compiled() {
    clean(&ignored_fences(&project()));
}

#[test]
fn no_file_names_somebodys_machine() {
    clean(&machine_paths(&project()));
}

#[test]
fn links_between_documents_lead_somewhere() {
    clean(&links(&project()));
}

#[test]
fn measured_numbers_in_the_readme_point_to_their_record() {
    clean(&unrecorded_numbers(&project()));
}

fn clean(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
