//! The text files of a project, read from disk or made up for a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every text file of the project, by its path from the root with `/` between the parts.
pub(crate) struct Tree(pub(crate) BTreeMap<String, String>);

impl Tree {
    pub(crate) fn rust_under<'t>(
        &'t self,
        folder: &'t str,
    ) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.under(folder).filter(|(path, _)| path.ends_with(".rs"))
    }

    pub(crate) fn under<'t>(&'t self, folder: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.0
            .iter()
            .filter(move |(path, _)| path.starts_with(folder))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Whether there is such a file, or a folder with a file in it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.contains_key(path) || self.under(&folder).next().is_some()
    }
}

pub(crate) fn project() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut files = BTreeMap::new();
    gather(root, "", &ignored, &mut files);
    assert!(
        files.contains_key("Cargo.toml"),
        "the walk did not find the project"
    );
    Tree(files)
}

/// Adds the text files below `folder`; leaves out what version control ignores, build output and hidden folders.
fn gather(folder: &Path, name: &str, ignored: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder)
        .expect("a folder of the project can be read")
        .flatten()
    {
        let file = entry.file_name().to_string_lossy().into_owned();
        let path = if name.is_empty() {
            file.clone()
        } else {
            format!("{name}/{file}")
        };
        let hidden =
            file.starts_with('.') && ![".ci", ".github", ".gitignore"].contains(&file.as_str());
        let built = file.starts_with("target") && entry.path().is_dir();
        if hidden
            || built
            || ignored
                .lines()
                .any(|line| line.trim_end_matches('/') == format!("/{path}"))
        {
            continue;
        }
        if entry.path().is_dir() {
            gather(&entry.path(), &path, ignored, files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.insert(path, text);
        } else {
            // Not text: known by its name, so that links to it hold.
            files.insert(path, String::new());
        }
    }
}
