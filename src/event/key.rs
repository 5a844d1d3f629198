//! Keys: what an event is about, as dispatch sees it.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

/// An event's key, borrowed from the event.
///
/// Only its hash travels; it picks the worker. The same bytes give the same hash for the whole life of
/// a process. A number and its text are different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key<'a> {
    /// No key: no order is asked for.
    None,
    /// A number.
    U64(u64),
    /// A wide number, a UUID for example.
    U128(u128),
    /// Text or bytes.
    Bytes(&'a [u8]),
}

impl Key<'_> {
    /// The hash by which the worker is chosen; `None` for no key.
    #[inline(always)]
    pub(crate) fn hash(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::U64(value) => Some(mix(value)),
            Self::U128(value) => Some(mix(value as u64 ^ mix((value >> 64) as u64))),
            Self::Bytes(bytes) => Some(hash_bytes(bytes)),
        }
    }

    /// The key as people read it: a number in decimal, a wide one as a UUID, bytes as text if they are some and
    /// else in hexadecimal, shortened if they are many. `None` for no key. Different keys may read the same.
    pub(crate) fn to_text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::U64(value) => Some(value.to_string()),
            Self::U128(value) => Some(Uuid::from_u128(value).hyphenated().to_string()),
            Self::Bytes(bytes) => Some(match std::str::from_utf8(bytes) {
                Ok(text) if !text.chars().any(char::is_control) => shortened(text),
                _ => {
                    let shown = &bytes[..bytes.len().min(TEXT_BYTES_MAX / 2)];
                    let mut text: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
                    text.insert_str(0, "0x");
                    if shown.len() < bytes.len() {
                        text.push('…');
                    }
                    text
                }
            }),
        }
    }
}

/// Most bytes of a key that are told.
const TEXT_BYTES_MAX: usize = 128;

fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_BYTES_MAX)
        .rev()
        .find(|&end| text.is_char_boundary(end));
    format!("{}…", &text[..end.unwrap_or(0)])
}

/// A full-width mix of one number (the finaliser of splitmix64, by Sebastiano Vigna): every bit of the
/// key reaches the upper bits, which pick the worker.
#[inline(always)]
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    static SEEDS: LazyLock<ahash::RandomState> =
        LazyLock::new(|| ahash::RandomState::with_seeds(0x7269_6e67, 0x626f_6c74, 0x006b_6579, 1));
    let mut hasher = SEEDS.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// A value that can serve as a key; what `#[event(key = "field")]` calls on the field.
pub trait AsKey {
    /// The value as a key.
    fn as_key(&self) -> Key<'_>;
}

macro_rules! number_keys {
    ($($number:ty),*) => {$(
        impl AsKey for $number {
            #[inline(always)]
            fn as_key(&self) -> Key<'_> {
                Key::U64(*self as u64)
            }
        }
    )*};
}

number_keys!(
    u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, bool, char
);

impl AsKey for u128 {
    #[inline(always)]
    fn as_key(&self) -> Key<'_> {
        Key::U128(*self)
    }
}

impl AsKey for i128 {
    #[inline(always)]
    fn as_key(&self) -> Key<'_> {
        Key::U128(*self as u128)
    }
}

impl AsKey for Uuid {
    #[inline(always)]
    fn as_key(&self) -> Key<'_> {
        Key::U128(self.as_u128())
    }
}

impl AsKey for str {
    fn as_key(&self) -> Key<'_> {
        Key::Bytes(self.as_bytes())
    }
}

impl AsKey for String {
    fn as_key(&self) -> Key<'_> {
        Key::Bytes(self.as_bytes())
    }
}

impl AsKey for [u8] {
    fn as_key(&self) -> Key<'_> {
        Key::Bytes(self)
    }
}

impl AsKey for Vec<u8> {
    fn as_key(&self) -> Key<'_> {
        Key::Bytes(self)
    }
}

impl<const N: usize> AsKey for [u8; N] {
    fn as_key(&self) -> Key<'_> {
        Key::Bytes(self)
    }
}

/// A missing value is no key: such an event is dispatched without order.
impl<T: AsKey> AsKey for Option<T> {
    #[inline(always)]
    fn as_key(&self) -> Key<'_> {
        self.as_ref().map_or(Key::None, AsKey::as_key)
    }
}

impl<T: AsKey + ?Sized> AsKey for &T {
    #[inline(always)]
    fn as_key(&self) -> Key<'_> {
        (**self).as_key()
    }
}

impl<T: AsKey + ?Sized> AsKey for Box<T> {
    fn as_key(&self) -> Key<'_> {
        (**self).as_key()
    }
}

impl<T: AsKey + ?Sized> AsKey for Arc<T> {
    fn as_key(&self) -> Key<'_> {
        (**self).as_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: Key<'_>, expected: Option<&str>) {
        assert_eq!(key.to_text().as_deref(), expected);
    }

    #[test]
    fn keys_read_as_people_write_them() {
        check(Key::None, None);
        check(Key::U64(7), Some("7"));
        check(Key::U128(7), Some("00000000-0000-0000-0000-000000000007"));
        check("a7".as_key(), Some("a7"));
        check("".as_key(), Some(""));
        check(Key::Bytes(&[0, 0xff]), Some("0x00ff"));
        check("a\nb".as_key(), Some("0x610a62"));
        let long = format!("{}ä", "a".repeat(TEXT_BYTES_MAX - 1));
        check(
            long.as_key(),
            Some(&format!("{}…", "a".repeat(TEXT_BYTES_MAX - 1))),
        );
        let bytes = format!("0x{}…", "00".repeat(TEXT_BYTES_MAX / 2));
        check(Key::Bytes(&[0; TEXT_BYTES_MAX]), Some(&bytes));
    }
}
