//! The little that the programs take from the command line: `--name value`.

use std::str::FromStr;

/// The arguments of a run.
#[derive(Debug)]
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// Takes in the command line; ends the process with 2 if a name is not among `known` or has no value.
    #[must_use]
    pub fn read(known: &[&str]) -> Self {
        let mut pairs = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_default();
            match words.next() {
                Some(value) if known.contains(&name) => pairs.push((name.to_owned(), value)),
                _ => usage(known),
            }
        }
        Self(pairs)
    }

    /// The value behind a name, or what holds where none was given; ends the process with 2 if it is none.
    #[must_use]
    pub fn value<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.0.iter().rev().find(|(known, _)| known == name) {
            None => default,
            Some((_, text)) => text.parse().unwrap_or_else(|_| {
                eprintln!("--{name}: {text} is no value for it");
                std::process::exit(2);
            }),
        }
    }

    /// The fault that is to be planted: one of `known`, or nothing.
    #[must_use]
    pub fn plant(&self, known: &[&str]) -> String {
        let plant = self.value("plant", String::new());
        if !plant.is_empty() && !known.contains(&plant.as_str()) {
            eprintln!("--plant: {plant} is none of {known:?}");
            std::process::exit(2);
        }
        plant
    }
}

fn usage(known: &[&str]) -> ! {
    let names: Vec<String> = known.iter().map(|name| format!("--{name} VALUE")).collect();
    eprintln!("usage: {}", names.join(" "));
    std::process::exit(2);
}
