const MAX_QUOTED: usize = 60;

/// Text in backticks for an error message, on one line and cut to a readable length.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == MAX_QUOTED {
            quoted.push('…');
            break;
        }
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted.push('`');
    quoted
}

/// The names as they appear in messages: `` `a`, `b` ``.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// The name that was probably meant by a word that names nothing: the one with the fewest typing
/// mistakes between them, or else one that begins with the word. Case, `_` and `-` do not count.
pub fn closest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    let length = word.chars().count();
    let allowed = (length / 3).clamp(1, 3);
    names
        .into_iter()
        .filter_map(|name| {
            let candidate = plain(name);
            let distance = strsim::damerau_levenshtein(&word, &candidate);
            if distance <= allowed && distance < candidate.chars().count() {
                Some((distance, name))
            } else if length >= 3 && candidate.starts_with(&word) {
                Some((allowed + 1, name))
            } else {
                None
            }
        })
        .min()
        .map(|(_, name)| name)
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|character| !matches!(character, '_' | '-'))
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests;
