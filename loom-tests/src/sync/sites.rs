//! Which edge a line of the engine is an end of: the one that the comment above it names.
//!
//! So a twin takes an ordering away exactly where the code claims to need it, and the claim itself is
//! what is tested.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::panic::Location;
use std::path::Path;

thread_local! {
    /// The comments above lines that were asked for, by file and line.
    static KNOWN: RefCell<HashMap<(&'static str, u32), String>> = RefCell::default();
}

/// Whether the comment above the calling line names this edge.
#[track_caller]
pub(super) fn calling_line_names(edge: &str) -> bool {
    let place = Location::caller();
    KNOWN.with_borrow_mut(|known| {
        known
            .entry((place.file(), place.line()))
            .or_insert_with(|| comment_above(place))
            .contains(&format!("[{edge}]"))
    })
}

fn comment_above(place: &Location<'_>) -> String {
    // The compiler names files from the workspace's root.
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(place.file());
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let lines: Vec<&str> = text.lines().take(place.line() as usize - 1).collect();
    comment_of_statement(&lines)
}

/// The comment of a statement whose earlier lines, if it has any, are the last of `lines`.
fn comment_of_statement(lines: &[&str]) -> String {
    let is_comment = |line: &&&str| line.trim_start().starts_with("//");
    let begun = lines
        .iter()
        .rev()
        .take_while(|line| {
            let line = line.trim();
            !line.starts_with("//") && !line.is_empty() && !line.ends_with([';', '{', '}', ','])
        })
        .count();
    let comment = lines[..lines.len() - begun]
        .iter()
        .rev()
        .take_while(is_comment);
    let mut comment: Vec<&str> = comment.map(|line| line.trim()).collect();
    comment.reverse();
    comment.join(" ")
}

#[test]
fn a_comment_belongs_to_the_statement_below_it() {
    let check = |text: &str, expected: &str| {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(comment_of_statement(&lines), expected);
    };
    check(
        "f();\n// Release [a]:\n// more.",
        "// Release [a]: // more.",
    );
    check("// Release [a]\nself.word\n    .tail", "// Release [a]");
    check("// Release [a]\nself.word.store(1);", "");
    check("// Release [a]\n\n", "");
    check("", "");
}
