//! Names of event types: what they may look like, and the one a type gets when it gives none.

/// The name for a type that gives none: its identifier cut at its capitals, in lower case, with dots between.
///
/// `OrderPlaced` is `order.placed`, `HTTPRequest` is `http.request`, `BookL2Update` is `book.l2.update`.
pub(crate) fn dotted(identifier: &str) -> String {
    let characters: Vec<char> = identifier.chars().collect();
    let mut name = String::with_capacity(identifier.len() + 4);
    for (index, &character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(index + 1);
        // A capital begins a word after anything that is none, and after a capital when it leads small letters on:
        // the R of `HTTPRequest`.
        let begins = character.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if (begins || character == '_') && !name.is_empty() && !name.ends_with('.') {
            name.push('.');
        }
        if character != '_' {
            name.extend(character.to_lowercase());
        }
    }
    name.truncate(name.trim_end_matches('.').len());
    name
}

/// What is wrong with a name, with the remedy; `None` for a good one.
pub(crate) fn fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(
            "name is empty: write one such as \"order.placed\", or leave `name` out to take the type's".to_owned(),
        );
    }
    if name.split('.').any(str::is_empty) {
        return Some(format!(
            "name \"{name}\" has an empty segment: put something between its dots, and no dot at its ends"
        ));
    }
    let allowed = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
    let odd = name.chars().find(|&character| !allowed(character))?;
    let lower = name.to_ascii_lowercase();
    Some(if lower.chars().all(allowed) {
        format!("name \"{name}\" is not in lower case: write \"{lower}\"")
    } else {
        format!(
            "name \"{name}\" contains {odd:?}: use lower-case letters a-z, digits, `_`, `-`, and dots between segments"
        )
    })
}
