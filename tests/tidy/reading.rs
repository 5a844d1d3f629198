//! Reads Rust and Markdown just well enough: code apart from comments, paths, functions, tags, table cells.

use std::collections::BTreeSet;

/// A source file taken apart: both halves keep the line numbers.
pub(crate) struct Split {
    /// The text with comments, and what stands inside quotes, blanked out.
    pub(crate) code: String,
    pub(crate) comments: Vec<Comment>,
}

/// One line of a comment.
pub(crate) struct Comment {
    pub(crate) line: usize,
    /// `///`, `//!` and their block forms: these may hold Markdown links, so no edge tags are read from them.
    pub(crate) documentation: bool,
    pub(crate) text: String,
}

impl Comment {
    /// The `[edge]` tags of a plain comment.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut tags = Vec::new();
        for (at, _) in self.text.match_indices('[').filter(|_| !self.documentation) {
            let before = self.text[..at].chars().next_back();
            let Some((name, after)) = self.text[at + 1..].split_once(']') else {
                continue;
            };
            let a_word = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            let alone = before.is_none_or(|c| !c.is_alphanumeric() && !"_#&`".contains(c))
                && !after.starts_with('(');
            if a_word && alone {
                tags.push(name.to_owned());
            }
        }
        tags
    }

    /// The invariants it cites: a known letter and a number, standing alone.
    pub(crate) fn invariants(&self, letters: &BTreeSet<char>) -> Vec<String> {
        let mut found = Vec::new();
        for (at, letter) in self.text.char_indices() {
            let before = self.text[..at].chars().next_back();
            let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            if starts && letters.contains(&letter) {
                found.extend(invariant_at_start(&self.text[at..]));
            }
        }
        found
    }
}

pub(crate) fn split(text: &str) -> Split {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Split {
        code: String::with_capacity(text.len()),
        comments: Vec::new(),
    };
    let (mut at, mut line) = (0, 1);
    // Blanks out `chars[from..to]`, keeping the lines, and counts them.
    let blank = |code: &mut String, line: &mut usize, from: usize, to: usize| {
        for c in &chars[from..to.min(chars.len())] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
            *line += usize::from(*c == '\n');
        }
    };
    while at < chars.len() {
        let here = chars[at];
        let next = chars.get(at + 1).copied();
        let within_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let end = match (here, next) {
            ('/', Some('/')) => end_of_line(&chars, at),
            ('/', Some('*')) => end_of_block(&chars, at),
            ('"', _) => end_of_quote(&chars, at),
            ('\'', _) => end_of_char(&chars, at),
            ('r' | 'b' | 'c', _) if !within_word => end_of_raw(&chars, at),
            _ => None,
        };
        match end {
            None => {
                out.code.push(here);
                line += usize::from(here == '\n');
                at += 1;
            }
            Some(end) => {
                if here == '/' {
                    let whole: String = chars[at..end].iter().collect();
                    let documentation = ["///", "//!", "/**", "/*!"]
                        .iter()
                        .any(|mark| whole.starts_with(mark));
                    for (offset, text) in whole.lines().enumerate() {
                        out.comments.push(Comment {
                            line: line + offset,
                            documentation,
                            text: text.to_owned(),
                        });
                    }
                }
                blank(&mut out.code, &mut line, at, end);
                at = end;
            }
        }
    }
    out
}

pub(crate) fn end_of_line(chars: &[char], at: usize) -> Option<usize> {
    Some(
        chars[at..]
            .iter()
            .position(|c| *c == '\n')
            .map_or(chars.len(), |length| at + length),
    )
}

pub(crate) fn end_of_block(chars: &[char], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

pub(crate) fn end_of_quote(chars: &[char], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    Some((at + 1).min(chars.len()))
}

/// The end of a character literal, or nothing for a lifetime.
pub(crate) fn end_of_char(chars: &[char], start: usize) -> Option<usize> {
    match (chars.get(start + 1)?, chars.get(start + 2)) {
        ('\\', _) => chars[start + 3..]
            .iter()
            .position(|c| *c == '\'')
            .map(|length| start + length + 4),
        (_, Some('\'')) => Some(start + 3),
        _ => None,
    }
}

/// The end of a raw string (`r"…"`, `br#"…"#`), or nothing for an ordinary word.
pub(crate) fn end_of_raw(chars: &[char], start: usize) -> Option<usize> {
    let mark = chars[start..]
        .iter()
        .take_while(|c| "rbc".contains(**c))
        .count();
    let raw = chars[start..start + mark].contains(&'r');
    let hashes = chars[start + mark..]
        .iter()
        .take_while(|c| **c == '#')
        .count();
    let open = start + mark + hashes;
    if !raw || mark > 2 || chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    Some(
        (open + 1..chars.len())
            .find(|at| closes(*at))
            .map_or(chars.len(), |at| at + 1 + hashes),
    )
}

pub(crate) fn code_of(text: &str) -> String {
    split(text).code
}

/// A path as written in code, groups taken apart: `use a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) parts: Vec<String>,
    /// Followed by `!`.
    pub(crate) call: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    Colons,
    Mark(char),
}

pub(crate) fn tokens(code: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = code.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < chars.len() {
        let here = chars[at];
        if here.is_alphanumeric() || here == '_' {
            let word: String = chars[at..]
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .collect();
            at += word.chars().count();
            found.push((line, Token::Word(word)));
            continue;
        }
        if here == ':' && chars.get(at + 1) == Some(&':') {
            at += 2;
            found.push((line, Token::Colons));
            continue;
        }
        if here == '\n' {
            line += 1;
        } else if !here.is_whitespace() {
            found.push((line, Token::Mark(here)));
        }
        at += 1;
    }
    found
}

pub(crate) fn paths(code: &str) -> Vec<Import> {
    let tokens = tokens(code);
    let (mut at, mut found) = (0, Vec::new());
    while at < tokens.len() {
        let own_macro = at > 0 && tokens[at - 1].1 == Token::Mark('$');
        if matches!(tokens[at].1, Token::Word(_)) && !own_macro {
            at = path(&tokens, at, Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found.retain(|import| import.parts.len() > 1);
    found
}

/// Reads the path at `at`, which goes on from `parts`, and answers where it ends.
pub(crate) fn path(
    tokens: &[(usize, Token)],
    mut at: usize,
    mut parts: Vec<String>,
    found: &mut Vec<Import>,
) -> usize {
    let line = tokens[at].0;
    loop {
        match tokens.get(at).map(|(_, token)| token) {
            Some(Token::Word(word)) => {
                parts.push(word.clone());
                at += 1;
                if tokens
                    .get(at)
                    .is_some_and(|(_, token)| *token == Token::Colons)
                {
                    at += 1;
                    continue;
                }
            }
            Some(Token::Mark('*')) => {
                parts.push("*".to_owned());
                at += 1;
            }
            Some(Token::Mark('{')) if !parts.is_empty() => {
                at += 1;
                while at < tokens.len() && tokens[at].1 != Token::Mark('}') {
                    if !matches!(tokens[at].1, Token::Word(_) | Token::Mark('*')) {
                        at += 1;
                        continue;
                    }
                    at = path(tokens, at, parts.clone(), found);
                    // `as name`
                    while at < tokens.len() && !matches!(tokens[at].1, Token::Mark(',' | '}')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => {}
        }
        let call = tokens
            .get(at)
            .is_some_and(|(_, token)| *token == Token::Mark('!'));
        found.push(Import { line, parts, call });
        return at;
    }
}

/// The names of the functions of a file.
pub(crate) fn functions(text: &str) -> Vec<String> {
    let tokens = tokens(&code_of(text));
    let pairs = tokens.windows(2);
    pairs
        .filter_map(|pair| match (&pair[0].1, &pair[1].1) {
            (Token::Word(word), Token::Word(name)) if word == "fn" => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// How a test is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    Not,
    /// By whatever panic.
    Somehow,
    /// By a panic with a given message.
    AsItSays,
}

/// A function below `#[test]`.
pub(crate) struct Test {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) fails: Fails,
}

/// The tests of a file, attributes a line each as the formatter leaves them.
pub(crate) fn tests_of(text: &str) -> Vec<Test> {
    let (mut is_test, mut fails, mut found) = (false, Fails::Not, Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line == "#[test]" {
            is_test = true;
        } else if line.starts_with("#[should_panic(expected = ") {
            fails = Fails::AsItSays;
        } else if line.starts_with("#[should_panic") {
            fails = Fails::Somehow;
        } else if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
            found.push(Test {
                line: index + 1,
                name: name.split(['(', '<']).next().unwrap_or(name).to_owned(),
                fails,
            });
            (is_test, fails) = (false, Fails::Not);
        }
    }
    found
}

pub(crate) fn cells(line: &str) -> Vec<&str> {
    line.trim()
        .trim_matches('|')
        .split('|')
        .map(str::trim)
        .collect()
}

pub(crate) fn backticked(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// `L12 …` as `L12`: a capital and digits, with nothing of a word after them.
pub(crate) fn invariant_at_start(text: &str) -> Option<String> {
    let letter = text.chars().next().filter(char::is_ascii_uppercase)?;
    let digits: String = text[1..].chars().take_while(char::is_ascii_digit).collect();
    let after = text[1 + digits.len()..].chars().next();
    let ends = after.is_none_or(|after| !after.is_alphanumeric() && after != '_');
    (!digits.is_empty() && ends).then(|| format!("{letter}{digits}"))
}
