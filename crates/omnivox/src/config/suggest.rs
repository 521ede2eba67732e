//! "Did you mean": the nearest known word to a mistyped one.
//!
//! Distance counts insertions, deletions, substitutions and swaps of neighbours, each as one. A suggestion is made only when it
//! is near enough to be a typing mistake: `frame_byts` suggests `frame_bytes`, `colour` suggests nothing.

/// The known word nearest to `typed`, if one is near enough.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = typed.chars().count() / 3 + 1;
    known.into_iter().map(|word| (distance(typed, word), word)).filter(|(distance, _)| *distance <= reach).min().map(|(_, word)| word)
}

/// The message for a word that is not one of a few choices.
pub(crate) fn unknown_word(typed: &str, known: &[&str]) -> String {
    match nearest(typed, known.iter().copied()) {
        Some(word) => format!("{typed:?} is not one of {}; did you mean {word:?}?", known.join(", ")),
        None => format!("{typed:?} is not one of {}", known.join(", ")),
    }
}

/// Edits between two words, a swap of neighbours counting as one.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(LENGTH_MAX).collect();
    let to: Vec<char> = to.chars().take(LENGTH_MAX).collect();
    // Three rows of the usual table: a swap looks two rows back.
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for row in 1..=from.len() {
        let mut current = vec![row];
        for column in 1..=to.len() {
            let same = from[row - 1] == to[column - 1];
            let mut best = (above[column - 1] + usize::from(!same)).min(above[column] + 1).min(current[column - 1] + 1);
            let swapped = row > 1 && column > 1 && from[row - 1] == to[column - 2] && from[row - 2] == to[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[to.len()]
}

/// Longer words are compared by their beginning only; no setting is that long.
const LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_their_word_and_other_words_find_none() {
        let known = ["listen", "shards", "workers", "frame_bytes", "format"];
        let check = |typed, expected| assert_eq!(nearest(typed, known), expected, "{typed}");
        check("lsiten", Some("listen"));
        check("frame_byts", Some("frame_bytes"));
        check("framebytes", Some("frame_bytes"));
        check("worker", Some("workers"));
        check("colour", None);
        check("", None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
