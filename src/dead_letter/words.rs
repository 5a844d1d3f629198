//! What a letter's attempts and errors said: one text for all of it, and pieces of that.
//!
//! Why not a string for each: there may be a million letters, and a message is about as long as what an allocation
//! and a pointer with a length to it cost (perf/notes/0011).

/// Most bytes of one letter's words: where a piece begins and how long it is have 32 bits each.
const BYTES_MAX: usize = u32::MAX as usize;

/// The words of one letter.
#[derive(Debug, Clone, Default)]
pub(super) struct Words(String);

/// Where in a letter's words something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    start: u32,
    len: u32,
}

impl Words {
    /// Adds what was said; cut where there is no room for all of it.
    pub(super) fn add(&mut self, text: &str) -> Piece {
        let start = self.0.len();
        let text = cut(text, BYTES_MAX - start);
        self.0.push_str(text);
        let narrow = |bytes: usize| u32::try_from(bytes).expect("no more than there is room for");
        Piece {
            start: narrow(start),
            len: narrow(text.len()),
        }
    }

    /// What is said there. The piece is one of these words.
    pub(super) fn get(&self, piece: Piece) -> &str {
        &self.0[piece.start as usize..][..piece.len as usize]
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// The beginning of a text that fits, in whole characters.
fn cut(text: &str, room: usize) -> &str {
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_found_again() {
        let mut words = Words::default();
        let pieces = ["no", "", "größer"].map(|text| (text, words.add(text)));
        for (text, piece) in pieces {
            assert_eq!(words.get(piece), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_behind_a_whole_character() {
        let check = |room, expected| assert_eq!(cut("größe", room), expected);
        check(9, "größe");
        check(5, "grö");
        check(4, "grö");
        check(3, "gr");
        check(0, "");
    }
}
