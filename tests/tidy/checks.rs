//! The checks: files in, complaints out, each with its place and its remedy.

use std::collections::{BTreeMap, BTreeSet};

use crate::reading::{
    Fails, Import, backticked, cells, code_of, functions, invariant_at_start, paths, split,
    tests_of,
};
use crate::tree::Tree;
use crate::{BEHIND_SYNC, GATHER, UNSAFE_HOMES, WITH_HEADERS};

/// Every Rust file begins with `//!` and a sentence, or takes in the README beside it, which begins with a title.
pub(crate) fn headers(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for folder in WITH_HEADERS {
        for (path, text) in tree.rust_under(folder) {
            let first = text.lines().next().unwrap_or_default();
            let sentence = first.strip_prefix("//!").unwrap_or_default();
            let readme = format!(
                "{}README.md",
                path.rsplit_once('/')
                    .map_or(String::new(), |(folder, _)| format!("{folder}/"))
            );
            // The crate's own page is the project's README.
            let (taken, readme) = match path {
                "src/lib.rs" => (r#"#![doc = include_str!("../README.md")]"#, "README.md"),
                _ => (r#"#![doc = include_str!("README.md")]"#, readme.as_str()),
            };
            let taken_in =
                first == taken && tree.text(readme).is_some_and(|text| text.starts_with("# "));
            if sentence.split_whitespace().count() < 2 && !taken_in {
                complaints.push(format!(
                    "{path}:1: begins without a header (`//! One sentence that says what this is.`)"
                ));
            }
        }
    }
    complaints
}

/// Every import of a module by another is in the table, and the table and the folders name the same modules.
pub(crate) fn arrows(tree: &Tree, table: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    let modules: BTreeSet<&str> = tree
        .rust_under("src/")
        .filter(|(path, _)| !GATHER.contains(path))
        .map(|(path, _)| top_module(path))
        .collect();
    for module in &modules {
        if !table.iter().any(|(name, _)| name == module) {
            complaints.push(format!("src/{module}: has no row in the table of arrows (tests/tidy.rs and ARCHITECTURE.md)"));
        }
    }
    for (name, _) in table {
        if !modules.contains(name) {
            complaints.push(format!("arrows: `{name}` has a row but no module in src"));
        }
    }
    for (path, text) in tree
        .rust_under("src/")
        .filter(|(path, _)| !GATHER.contains(path))
    {
        let home = top_module(path);
        let allowed = table
            .iter()
            .find(|(name, _)| *name == home)
            .map_or(&[][..], |(_, to)| *to);
        for import in paths(&code_of(text)) {
            let Some(target) = target_of(&import, path, &modules) else {
                continue;
            };
            let line = import.line;
            if !modules.contains(target.as_str()) {
                complaints.push(format!(
                    "{path}:{line}: takes `{target}` from the crate's root; import it from its own module, so that the arrow shows"
                ));
            } else if target != home && target != "sync" && !allowed.contains(&target.as_str()) {
                complaints.push(format!("{path}:{line}: {home} may not import {target} (there is no such arrow in ARCHITECTURE.md)"));
            }
        }
    }
    complaints
}

/// The module of `src` that a path inside the crate leads to; `None` for paths that stay at home or leave the crate.
pub(crate) fn target_of(import: &Import, file: &str, modules: &BTreeSet<&str>) -> Option<String> {
    let parts = &import.parts;
    let first = parts.first()?;
    if first == "crate" {
        let target = parts.get(1)?;
        let a_macro = import.call && parts.len() == 2;
        return (!a_macro && target != "*").then(|| target.clone());
    }
    if first != "super" {
        return None;
    }
    let home = module_of(file);
    let up = parts.iter().take_while(|part| *part == "super").count();
    // Inline modules are not counted, so a chain may seem to reach higher than it does: only known modules are believed.
    if up < home.len() {
        return Some(home[0].clone());
    }
    let target = parts.get(up)?;
    modules.contains(target.as_str()).then(|| target.clone())
}

/// `src/lane/ring.rs` is `lane::ring`, `src/lane/mod.rs` is `lane`.
pub(crate) fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    inner
        .split('/')
        .filter(|part| *part != "mod")
        .map(str::to_owned)
        .collect()
}

pub(crate) fn top_module(file: &str) -> &str {
    let inner = file.trim_start_matches("src/");
    inner
        .split('/')
        .next()
        .unwrap_or(inner)
        .trim_end_matches(".rs")
}

/// The table drawn in `ARCHITECTURE.md` below `<!-- arrows -->` is the one checked here, and it has no circle.
pub(crate) fn arrows_as_drawn(tree: &Tree, table: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    let page = tree.text("ARCHITECTURE.md").unwrap_or_default();
    let drawn: BTreeMap<String, BTreeSet<String>> = page
        .split("<!-- arrows -->")
        .nth(1)
        .unwrap_or_default()
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let row = cells(line);
            let mut names = backticked(row.first()?).into_iter();
            Some((names.next()?, backticked(row.get(1)?).into_iter().collect()))
        })
        .collect();
    for (name, to) in table {
        let to: BTreeSet<String> = to.iter().map(|target| (*target).to_owned()).collect();
        match drawn.get(*name) {
            None => complaints.push(format!(
                "ARCHITECTURE.md: the table of arrows has no row for `{name}`"
            )),
            Some(there) if *there != to => {
                complaints.push(format!(
                    "ARCHITECTURE.md: `{name}` imports {there:?} there and {to:?} in tests/tidy.rs"
                ));
            }
            Some(_) => {}
        }
    }
    for name in drawn.keys() {
        if !table.iter().any(|(known, _)| known == name) {
            complaints.push(format!(
                "ARCHITECTURE.md: `{name}` is in its table of arrows and not in tests/tidy.rs"
            ));
        }
    }
    // Take away, again and again, the modules that point only to what is already gone; what is left goes in circles.
    let mut left: Vec<_> = table.to_vec();
    loop {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        let before = left.len();
        left.retain(|(_, to)| to.iter().any(|target| names.contains(target)));
        if left.len() == before {
            break;
        }
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        complaints.push(format!("arrows: {} go in a circle", names.join(", ")));
    }
    complaints
}

/// Outside `src/sync`, nothing in `src` names the standard library's atomics, threads or clock.
pub(crate) fn behind_sync(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree
        .rust_under("src/")
        .filter(|(path, _)| top_module(path) != "sync")
    {
        for import in paths(&code_of(text)) {
            let named = |door: &&[&str]| import.parts.windows(door.len()).any(|part| part == *door);
            if let Some(door) = BEHIND_SYNC.iter().find(|door| named(door)) {
                complaints.push(format!(
                    "{path}:{}: names `{}`; use what crate::sync offers",
                    import.line,
                    door.join("::")
                ));
            }
        }
    }
    complaints
}

/// `allow(unsafe_code)` and `expect(unsafe_code)` stand only where unsafe code is at home.
pub(crate) fn unsafe_homes(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let at_home = |path: &str| {
        UNSAFE_HOMES.iter().any(|home| {
            path == *home || path.starts_with(&format!("{home}/")) || path == format!("{home}.rs")
        })
    };
    for (path, text) in tree.rust_under("src/").filter(|(path, _)| !at_home(path)) {
        for (index, line) in code_of(text).lines().enumerate() {
            if line.contains("unsafe_code") && !line.contains("deny") && !line.contains("forbid") {
                complaints.push(format!(
                    "{path}:{}: lets unsafe code in; its homes are {UNSAFE_HOMES:?}",
                    index + 1
                ));
            }
        }
    }
    complaints
}

/// Edges and invariants that comments in `src` cite have a row in a README, the rows have models, and no row is idle.
pub(crate) fn edges_and_invariants(tree: &Tree, lock_free: &[(&str, char)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let models: BTreeSet<String> = tree
        .rust_under("loom-tests/")
        .flat_map(|(_, text)| functions(text))
        .collect();

    let mut edges = BTreeMap::new();
    let mut invariants = BTreeMap::new();
    let mut letters: BTreeSet<char> = lock_free.iter().map(|(_, letter)| *letter).collect();
    for (path, text) in tree
        .under("src/")
        .filter(|(path, _)| path.ends_with("/README.md"))
    {
        for (index, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", index + 1);
            if let Some(id) = invariant_at_start(line.trim_start_matches(['|', '-', '*', '`', ' ']))
            {
                letters.extend(id.chars().next());
                invariants.entry(id).or_insert(place);
            } else if let Some((name, model)) = edge_row(line) {
                edges.insert(name, (place, model));
            }
        }
    }
    for (module, _) in lock_free {
        if tree.text(&format!("src/{module}/README.md")).is_none() {
            complaints.push(format!(
                "src/{module}: has no README.md with its invariants and edges"
            ));
        }
    }

    for (name, (place, model)) in &edges {
        if model.is_empty() {
            complaints.push(format!(
                "{place}: the edge [{name}] names no model in its last cell"
            ));
        }
        for function in model.iter().filter(|function| !models.contains(*function)) {
            complaints.push(format!("{place}: the edge [{name}] names the model `{function}`, which is not in loom-tests"));
        }
    }
    for (id, place) in &invariants {
        let start = format!("{}_", id.to_lowercase());
        if !models.iter().any(|function| function.starts_with(&start)) {
            complaints.push(format!(
                "{place}: the invariant {id} has no model `{start}…` in loom-tests"
            ));
        }
    }

    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (path, text) in tree.rust_under("src/") {
        for comment in split(text).comments {
            let place = format!("{path}:{}", comment.line);
            for name in comment.tags() {
                if !edges.contains_key(&name) {
                    complaints.push(format!(
                        "{place}: the edge [{name}] has no row in a README.md"
                    ));
                }
                *ends.entry(name).or_default() += 1;
            }
            for id in comment
                .invariants(&letters)
                .into_iter()
                .filter(|id| !invariants.contains_key(id))
            {
                complaints.push(format!(
                    "{place}: the invariant {id} has no row in its README.md"
                ));
            }
        }
    }
    for (name, (place, _)) in &edges {
        let count = ends.get(name).copied().unwrap_or_default();
        if count < 2 {
            complaints.push(format!("{place}: the edge [{name}] is named at {count} places in src; both of its ends must name it"));
        }
    }
    complaints
}

/// Each invariant and each edge of the READMEs has a model that passes and a twin that fails as it says, and each
/// model is of an invariant, and of an edge if it says so: `l2_…`, `l2_twin_…`, `l2_edge_publish_…`,
/// `l2_edge_publish_twin_…`.
pub(crate) fn models_and_twins(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    // What passes and what fails, by invariant and by edge.
    let mut wanted: BTreeMap<String, (String, [bool; 2])> = BTreeMap::new();
    for (path, text) in tree
        .under("src/")
        .filter(|(path, _)| path.ends_with("/README.md"))
    {
        for (index, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", index + 1);
            if let Some(id) = invariant_at_start(line.trim_start_matches(['|', '-', '*', '`', ' ']))
            {
                wanted
                    .entry(id.to_lowercase())
                    .or_insert((place, [false; 2]));
            } else if let Some((name, _)) = edge_row(line) {
                wanted
                    .entry(format!("[{name}]"))
                    .or_insert((place, [false; 2]));
            }
        }
    }
    for (path, text) in tree.rust_under("loom-tests/src/models/") {
        for test in tests_of(text) {
            let place = format!("{path}:{}", test.line);
            let words: Vec<&str> = test.name.split('_').collect();
            let is_twin = words.contains(&"twin");
            match (is_twin, test.fails) {
                (true, Fails::AsItSays) | (false, Fails::Not) => {}
                (true, _) => complaints.push(format!(
                    "{place}: `{}` is a twin, so it fails with `#[should_panic(expected = …)]`",
                    test.name
                )),
                (false, _) => complaints.push(format!(
                    "{place}: `{}` fails, so it is a twin and is to say so in its name",
                    test.name
                )),
            }
            let of_edge = (words.get(1) == Some(&"edge"))
                .then(|| format!("[{}]", words.get(2).unwrap_or(&"")));
            for key in std::iter::once(words[0].to_owned()).chain(of_edge) {
                match wanted.get_mut(&key) {
                    Some((_, seen)) => seen[usize::from(is_twin)] = true,
                    None => complaints.push(format!(
                        "{place}: `{}` is named after {key}, which has no row in a README.md of src",
                        test.name
                    )),
                }
            }
        }
    }
    let real: BTreeSet<String> = tree
        .rust_under("src/")
        .flat_map(|(_, text)| tests_of(text))
        .flat_map(|test| test.name.split('_').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for (key, (place, [passes, fails])) in wanted {
        // What is assumed of others has no twin: it is tested on the real thing instead.
        if key.starts_with('a') {
            if !passes {
                complaints.push(format!(
                    "{place}: {key} has no model `{key}_…` of the stand-in"
                ));
            }
            if !real.contains(&key) {
                complaints.push(format!(
                    "{place}: {key} has no test `{key}_…` in src of the real thing"
                ));
            }
            continue;
        }
        let name = match key.strip_prefix('[') {
            Some(edge) => format!("…_edge_{}_", edge.trim_end_matches(']')),
            None => format!("{key}_"),
        };
        if !passes {
            complaints.push(format!("{place}: {key} has no model `{name}…`"));
        }
        if !fails {
            complaints.push(format!("{place}: {key} has no twin `{name}twin_…`"));
        }
    }
    complaints
}

/// Every ordering in `src`, but for tests and Relaxed, stands below a comment that names the edge it is an end of.
pub(crate) fn orderings(tree: &Tree) -> Vec<String> {
    const ORDERINGS: [&str; 4] = ["Release", "Acquire", "AcqRel", "SeqCst"];
    let mut complaints = Vec::new();
    for (path, text) in tree
        .rust_under("src/")
        .filter(|(path, _)| !path.contains("/tests"))
    {
        let parts = split(text);
        let code: Vec<&str> = parts.code.lines().collect();
        let named: BTreeSet<usize> = parts
            .comments
            .iter()
            .filter(|comment| !comment.tags().is_empty())
            .map(|comment| comment.line)
            .collect();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in code.iter().enumerate() {
            let is_ordered = ORDERINGS
                .iter()
                .any(|order| line.contains(&format!("Ordering::{order}")));
            if !is_ordered || line.contains("fence(") {
                continue;
            }
            // Up to the beginning of the statement, then through the comment above it.
            let is_comment = |at: usize| lines[at].trim_start().starts_with("//");
            let mut at = index;
            while at > 0
                && !is_comment(at - 1)
                && !code[at - 1].trim().is_empty()
                && !code[at - 1].trim_end().ends_with([';', '{', '}'])
            {
                at -= 1;
            }
            let mut is_named = false;
            while at > 0 && is_comment(at - 1) {
                is_named |= named.contains(&at);
                at -= 1;
            }
            if !is_named {
                complaints.push(format!(
                    "{path}:{}: an ordering without the [edge] it is an end of (name it in the comment above and in the README, or make it Relaxed and say why)",
                    index + 1
                ));
            }
        }
    }
    complaints
}

/// `| [publish] | … | l2_model, l2_other |` as the name and the functions that its last cell names.
pub(crate) fn edge_row(line: &str) -> Option<(String, Vec<String>)> {
    let row = line.trim_start().starts_with('|').then(|| cells(line))?;
    let first = row
        .first()?
        .trim_matches(['`', '*', '\\', ' '])
        .replace('\\', "");
    let name = first.strip_prefix('[')?.strip_suffix(']')?;
    Some((name.to_owned(), backticked(row.last()?)))
}

/// Each promise has a function whose name starts with its id, under `tests` or `src`.
pub(crate) fn promises(tree: &Tree, ids: &[&str]) -> Vec<String> {
    let kept: BTreeSet<String> = tree
        .rust_under("tests/")
        .chain(tree.rust_under("src/"))
        .flat_map(|(_, text)| functions(text))
        .collect();
    ids.iter()
        .filter(|id| {
            !kept
                .iter()
                .any(|function| function.starts_with(&format!("{id}_")))
        })
        .map(|id| format!("{}: no test is named `{id}_…`", id.to_uppercase()))
        .collect()
}

/// The README names each promise that is kept (`**PD1**`), and no other.
pub(crate) fn promises_told(tree: &Tree, ids: &[&str]) -> Vec<String> {
    let readme = tree.text("README.md").unwrap_or_default();
    let told: BTreeSet<String> = readme
        .split("**")
        .skip(1)
        .step_by(2)
        .filter(|word| {
            let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
            word.len() - digits.len() == 2 && digits.parse::<u32>().is_ok()
        })
        .map(str::to_lowercase)
        .collect();
    let kept: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let untold = kept
        .difference(&told)
        .map(|id| format!("README.md: does not tell **{}**", id.to_uppercase()));
    let untested = told.difference(&kept).map(|id| {
        format!(
            "README.md: tells **{}**, which tests/tidy.rs asks no test for",
            id.to_uppercase()
        )
    });
    untold.chain(untested).collect()
}

/// No fence in Markdown or in documentation comments is left out of the doc tests by `ignore`.
pub(crate) fn ignored_fences(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree
        .under("")
        .filter(|(path, _)| path.ends_with(".md") || path.ends_with(".rs"))
    {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start_matches([' ', '/', '!', '*', '>']);
            let Some(words) = line
                .strip_prefix("```")
                .or_else(|| line.strip_prefix("~~~"))
            else {
                continue;
            };
            if words
                .split([',', ' ', '{', '}'])
                .any(|word| word.starts_with("ignore"))
            {
                complaints.push(format!("{path}:{}: an `ignore` fence is an example that nobody compiles (`no_run`, `text`)", index + 1));
            }
        }
    }
    complaints
}

/// No text names a folder of the machine it was written on.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<String> {
    // Put together here, so that this file does not name them.
    let folders: Vec<String> = ["work", "tmp", "home", "Users"]
        .iter()
        .map(|name| format!("/{name}"))
        .collect();
    let mut complaints = Vec::new();
    for (path, text) in tree.under("") {
        for (index, line) in text.lines().enumerate() {
            let named = |folder: &&String| {
                line.match_indices(folder.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = line[at + folder.len()..].chars().next();
                    let starts =
                        before.is_none_or(|c| !c.is_alphanumeric() && !"._-/})".contains(c));
                    let ends = after.is_none_or(|c| !c.is_alphanumeric() && !"_-.".contains(c));
                    starts && ends
                })
            };
            if let Some(folder) = folders.iter().find(named) {
                complaints.push(format!(
                    "{path}:{}: names a folder of one machine, `{folder}`",
                    index + 1
                ));
            }
        }
    }
    complaints
}

/// A relative link in a Markdown file leads to a file or folder of the project.
pub(crate) fn links(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.under("").filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate() {
            for part in line.split("](").skip(1) {
                let link = part.split([')', '#', ' ']).next().unwrap_or_default();
                if link.is_empty()
                    || link.contains("://")
                    || link.starts_with("mailto:")
                    || link.contains("::")
                {
                    continue;
                }
                let mut whole: Vec<&str> = path.split('/').collect();
                whole.pop();
                for step in link.split('/') {
                    match step {
                        "." | "" => {}
                        ".." => drop(whole.pop()),
                        name => whole.push(name),
                    }
                }
                if !tree.has(&whole.join("/")) {
                    complaints.push(format!(
                        "{path}:{}: the link to `{link}` leads nowhere",
                        index + 1
                    ));
                }
            }
        }
    }
    complaints
}

/// A paragraph of the README that gives nanoseconds or a rate links to where they were measured.
pub(crate) fn unrecorded_numbers(tree: &Tree) -> Vec<String> {
    let number = |word: &str| {
        word.trim_start_matches(['(', '~', '*'])
            .starts_with(|c: char| c.is_ascii_digit())
    };
    let unit = |word: &str| {
        let word = word.trim_end_matches([',', '.', ';', ':', ')', '*', '|']);
        ["ns", "events/s", "M/s", "million"].contains(&word)
    };
    let (mut complaints, mut measured, mut recorded, mut fenced) = (Vec::new(), None, false, false);
    let text = tree.text("README.md").unwrap_or_default();
    for (index, line) in text.lines().chain([""]).enumerate() {
        fenced ^= line.starts_with("```");
        if fenced {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words
            .windows(2)
            .any(|pair| number(pair[0]) && unit(pair[1]))
        {
            measured = measured.or(Some(index + 1));
        }
        recorded |= line.contains("](perf/");
        if words.is_empty() {
            if let Some(line) = measured.take().filter(|_| !recorded) {
                complaints.push(format!("README.md:{line}: gives a measured number without a link to its record in perf/"));
            }
            recorded = false;
        }
    }
    complaints
}
