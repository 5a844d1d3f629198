//! Codecs: how a type's values leave memory and come back.
//!
//! **event** → publish → route → lane → worker → handler → outcome
//!
//! Nothing is encoded to be dispatched. A type names a codec for the places where its events become text: dead
//! letters that are written to a file, and read from one. What erased code needs of it hangs on the type's
//! descriptor. A codec is the user's code: its panic is an error like any other.

use super::payload::{Head, Kept, Slot, contain};
use super::{Class, Event, EventType};
use crate::sync::Arc;
use std::fmt;
use std::mem::MaybeUninit;

/// How values of `E` become text and come back; what [`Event::codec`] answers.
///
/// ```
/// use ringbolt::{Codec, Event};
///
/// struct Temperature(f64);
///
/// impl Event for Temperature {
///     const NAME: &'static str = "temperature";
///     fn codec() -> Option<Codec<Self>> {
///         Some(Codec::new(
///             |event| Ok(event.0.to_string()),
///             |text| text.parse().map(Self).map_err(|error| format!("{text:?}: {error}")),
///         ))
///     }
/// }
/// ```
pub struct Codec<E> {
    name: &'static str,
    encode: fn(&E) -> Result<String, String>,
    decode: fn(&str) -> Result<E, String>,
}

impl<E> Codec<E> {
    /// A codec of two functions: to text of any form, and from it. Their errors say what is wrong with the
    /// value or the text.
    #[must_use]
    pub const fn new(
        encode: fn(&E) -> Result<String, String>,
        decode: fn(&str) -> Result<E, String>,
    ) -> Self {
        Self {
            name: "text",
            encode,
            decode,
        }
    }
}

#[cfg(feature = "json")]
impl<E: serde::Serialize + serde::de::DeserializeOwned> Codec<E> {
    /// JSON, as the type's `Serialize` and `Deserialize` have it.
    #[must_use]
    pub const fn json() -> Self {
        Self {
            name: JSON,
            encode: |event| serde_json::to_string(event).map_err(|error| error.to_string()),
            decode: |text| serde_json::from_str(text).map_err(|error| error.to_string()),
        }
    }
}

/// The name of the codec whose text is a JSON value.
#[cfg(feature = "json")]
pub(crate) const JSON: &str = "json";

impl<E> Clone for Codec<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Codec<E> {}

impl<E> fmt::Debug for Codec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codec({})", self.name)
    }
}

/// What code that does not know the type can do with its key and its codec.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "json"),
    allow(dead_code, reason = "only files of JSON lines are read so far")
)]
pub(crate) struct TextFns {
    key: fn(&Kept) -> Option<String>,
    codec: fn() -> Option<&'static str>,
    encode: fn(&Kept) -> Option<Result<String, String>>,
    decode: fn(&str, Class, Head) -> Option<Result<Slot, String>>,
}

impl TextFns {
    pub(crate) fn of<E: Event>() -> Self {
        Self {
            key: |kept| {
                let event = kept.get(EventType::<E>::of())?;
                let key = contain(|| event.key().to_text());
                key.unwrap_or_else(|panic| Some(format!("(its key panicked: {panic})")))
            },
            codec: || codec::<E>().map(|codec| codec.name),
            encode: |kept| {
                let codec = codec::<E>()?;
                let Some(event) = kept.get(EventType::<E>::of()) else {
                    return Some(Err(
                        "the value is gone: a handler took it and did not give it back".to_owned(),
                    ));
                };
                Some(guarded("encoding", || (codec.encode)(event)))
            },
            decode: |text, class, head| {
                let codec = codec::<E>()?;
                Some(guarded("decoding", || {
                    let event = (codec.decode)(text)?;
                    Ok(at_rest(event, class, head))
                }))
            },
        }
    }

    /// The event's key as people read it; `None` for no key, or if the value is gone.
    pub(crate) fn key(&self, kept: &Kept) -> Option<String> {
        (self.key)(kept)
    }

    /// The name of the type's codec, if it has one.
    pub(crate) fn codec(&self) -> Option<&'static str> {
        (self.codec)()
    }

    /// The value as text; `None` if the type has no codec.
    pub(crate) fn encode(&self, kept: &Kept) -> Option<Result<String, String>> {
        (self.encode)(kept)
    }

    /// An event from its text, with this envelope but for the key, which is asked of the value; `None` if the
    /// type has no codec.
    #[cfg_attr(
        not(feature = "json"),
        allow(dead_code, reason = "only files of JSON lines are read so far")
    )]
    pub(crate) fn decode(
        &self,
        text: &str,
        class: Class,
        head: Head,
    ) -> Option<Result<Slot, String>> {
        (self.decode)(text, class, head)
    }
}

/// The type's codec; one whose making panics is none.
fn codec<E: Event>() -> Option<Codec<E>> {
    contain(E::codec).unwrap_or(None)
}

fn guarded<T>(doing: &str, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    contain(f).unwrap_or_else(|panic| Err(format!("the codec panicked while {doing}: {panic}")))
}

fn at_rest<E: Event>(event: E, class: Class, mut head: Head) -> Slot {
    let hash = event.key().hash();
    head.key_hash = hash.unwrap_or(0);
    let event = Arc::new(event);
    Slot::by_value(move |slot: &mut MaybeUninit<Slot>| {
        Slot::write_shared(slot, EventType::of(), class, hash.is_some(), head, event)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Key, descriptor_named};

    #[derive(Debug, PartialEq)]
    struct Reading(String);

    impl Event for Reading {
        const NAME: &'static str = "codec.reading";
        fn key(&self) -> Key<'_> {
            Key::Bytes(self.0.as_bytes())
        }
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::new(
                |event| match event.0.as_str() {
                    "panics" => panic!("no such reading"),
                    "fails" => Err("this one fails".to_owned()),
                    text => Ok(text.to_owned()),
                },
                |text| match text {
                    "panics" => panic!("no such text"),
                    "fails" => Err("this one fails".to_owned()),
                    text => Ok(Self(text.to_owned())),
                },
            ))
        }
    }

    fn kept<E: Event>(event: E) -> Kept {
        Kept::from(at_rest(event, Class::High, Head::default()))
    }

    #[test]
    fn an_event_comes_back_from_its_text_with_its_key() {
        let kept = kept(Reading("a7".to_owned()));
        let fns = descriptor_named("codec.reading").unwrap().text_fns;
        assert_eq!(fns.codec(), Some("text"));
        assert_eq!(fns.key(&kept).as_deref(), Some("a7"));
        let text = fns.encode(&kept).unwrap().unwrap();
        let head = Head {
            key_hash: 1,
            sequence: 5,
            ..Head::default()
        };
        let back = Kept::from(fns.decode(&text, Class::Low, head).unwrap().unwrap());
        assert_eq!(back.get(EventType::of()), Some(&Reading("a7".to_owned())));
        assert_eq!(back.key_hash(), Key::Bytes(b"a7").hash());
        assert_eq!((back.class(), back.head().sequence), (Class::Low, 5));
    }

    #[test]
    fn a_codec_that_fails_or_panics_is_an_error() {
        let fns = TextFns::of::<Reading>();
        let encode = |text: &str| fns.encode(&kept(Reading(text.to_owned()))).unwrap();
        assert_eq!(encode("fails").unwrap_err(), "this one fails");
        assert_eq!(
            encode("panics").unwrap_err(),
            "the codec panicked while encoding: no such reading"
        );
        let decode = |text| {
            let decoded = fns.decode(text, Class::Normal, Head::default());
            decoded.unwrap().map(|_| ()).unwrap_err()
        };
        assert_eq!(decode("fails"), "this one fails");
        assert_eq!(
            decode("panics"),
            "the codec panicked while decoding: no such text"
        );
        let mut gone = kept(Reading(String::new()));
        drop(gone.take());
        assert!(fns.encode(&gone).unwrap().is_err());
    }

    #[test]
    fn a_type_without_a_codec_says_so() {
        struct Plain;
        impl Event for Plain {
            const NAME: &'static str = "codec.plain";
        }
        let fns = TextFns::of::<Plain>();
        assert_eq!(fns.codec(), None);
        assert!(fns.encode(&kept(Plain)).is_none());
        assert!(fns.decode("", Class::Normal, Head::default()).is_none());
        assert_eq!(fns.key(&kept(Plain)), None);
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_is_what_serde_makes_of_the_type() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Placed {
            order_id: u64,
        }
        impl Event for Placed {
            const NAME: &'static str = "codec.placed";
            fn codec() -> Option<Codec<Self>> {
                Some(Codec::json())
            }
        }
        let fns = TextFns::of::<Placed>();
        let text = fns.encode(&kept(Placed { order_id: 7 })).unwrap().unwrap();
        assert_eq!(text, r#"{"order_id":7}"#);
        let decode = |text| fns.decode(text, Class::Normal, Head::default()).unwrap();
        let back = Kept::from(decode(&text).unwrap());
        assert_eq!(back.get(EventType::of()), Some(&Placed { order_id: 7 }));
        let wrong = decode("{}").map(|_| ()).unwrap_err();
        assert!(wrong.contains("missing field `order_id`"), "{wrong}");
    }
}
