//! Codecs: how a type's values leave memory and come back.
//!
//! **event** → publish → route → lane → worker → handler → outcome
//!
//! Nothing is encoded to be dispatched. A type names a codec for the places where its events become bytes or text: the
//! store, and dead letters that are written to a file and read from one (a codec of bytes serves the store alone). What
//! erased code needs of it hangs on the type's descriptor. A codec is the user's code: its panic is an error like any other.

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
    form: Form<E>,
}

/// What an encoded value is; the numbers are those of the store's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Bytes of a form that only the type's codec knows.
    Bytes = 0,
    /// The value as it lies in memory.
    Pod = 1,
    /// Postcard.
    Postcard = 2,
    /// A JSON value.
    Json = 3,
    /// Text of a form that only the type's codec knows.
    Text = 4,
}

impl Encoding {
    pub(crate) fn of(number: u8) -> Self {
        match number {
            1 => Self::Pod,
            2 => Self::Postcard,
            3 => Self::Json,
            4 => Self::Text,
            _ => Self::Bytes,
        }
    }

    /// The name in reports: `bytes`, `pod`, `postcard`, `json`, `text`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Pod => "pod",
            Self::Postcard => "postcard",
            Self::Json => "json",
            Self::Text => "text",
        }
    }

    /// Whether an encoded value is text in UTF-8.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Text)
    }
}

enum Form<E> {
    Text {
        encoding: Encoding,
        encode: fn(&E) -> Result<String, String>,
        decode: fn(&str) -> Result<E, String>,
    },
    Bytes {
        encoding: Encoding,
        encode: fn(&E, &mut Vec<u8>) -> Result<(), String>,
        decode: fn(&[u8]) -> Result<E, String>,
    },
    Pod {
        bytes: fn(&E) -> &[u8],
        view: fn(&[u8]) -> Option<&E>,
        decode: fn(&[u8]) -> Result<E, String>,
    },
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
            form: Form::Text {
                encoding: Encoding::Text,
                encode,
                decode,
            },
        }
    }

    /// A codec of two functions: to bytes of any form, appended to the buffer, and from them.
    #[must_use]
    pub const fn bytes(
        encode: fn(&E, &mut Vec<u8>) -> Result<(), String>,
        decode: fn(&[u8]) -> Result<E, String>,
    ) -> Self {
        Self {
            form: Form::Bytes {
                encoding: Encoding::Bytes,
                encode,
                decode,
            },
        }
    }

    /// What it makes of a value.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::Text { encoding, .. } | Form::Bytes { encoding, .. } => encoding,
            Form::Pod { .. } => Encoding::Pod,
        }
    }

    /// The value as bytes: its own, or those written to the empty `buffer`. A panic of the codec is an error.
    #[inline(always)]
    pub(crate) fn encode<'a>(
        &self,
        event: &'a E,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], String> {
        if let Some(bytes) = self.bytes_of(event) {
            return Ok(bytes);
        }
        self.encode_into(event, buffer)?;
        Ok(buffer)
    }

    /// The value's own bytes, if they are what it is encoded as.
    #[inline(always)]
    pub(crate) fn bytes_of<'a>(&self, event: &'a E) -> Option<&'a [u8]> {
        match self.form {
            Form::Pod { bytes, .. } => Some(bytes(event)),
            _ => None,
        }
    }

    /// The value as bytes at the end of `buffer`; what a failing codec has left there stays.
    pub(crate) fn encode_into(&self, event: &E, buffer: &mut Vec<u8>) -> Result<(), String> {
        match self.form {
            Form::Pod { bytes, .. } => {
                buffer.extend_from_slice(bytes(event));
                Ok(())
            }
            Form::Bytes { encode, .. } => guarded("encoding", || encode(event, buffer)),
            Form::Text { encode, .. } => {
                let text = guarded("encoding", || encode(event))?;
                buffer.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }

    /// The value that these bytes are. A panic of the codec is an error.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<E, String> {
        match self.form {
            Form::Text { decode, .. } => guarded("decoding", || {
                decode(std::str::from_utf8(bytes).map_err(|error| error.to_string())?)
            }),
            Form::Bytes { decode, .. } => guarded("decoding", || decode(bytes)),
            Form::Pod { decode, .. } => decode(bytes),
        }
    }

    /// The value where it lies, if these bytes are one.
    #[inline(always)]
    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> Option<&'a E> {
        match self.form {
            Form::Pod { view, .. } => view(bytes),
            _ => None,
        }
    }

    fn to_text(self) -> Option<TextForm<E>> {
        match self.form {
            Form::Text { encode, decode, .. } => Some((encode, decode)),
            _ => None,
        }
    }
}

type TextForm<E> = (
    fn(&E) -> Result<String, String>,
    fn(&str) -> Result<E, String>,
);

impl<E: bytemuck::NoUninit + bytemuck::AnyBitPattern> Codec<E> {
    /// Plain old data: the value's own bytes, in this machine's order. Nothing is encoded, and the store's readers look
    /// at values where they lie.
    #[must_use]
    pub const fn pod() -> Self {
        Self {
            form: Form::Pod {
                bytes: |event| bytemuck::bytes_of(event),
                view: |bytes| bytemuck::try_from_bytes(bytes).ok(),
                decode: |bytes| {
                    bytemuck::try_pod_read_unaligned(bytes).map_err(|_| {
                        format!("{} bytes, and a value has {}", bytes.len(), size_of::<E>())
                    })
                },
            },
        }
    }
}

#[cfg(feature = "postcard")]
impl<E: serde::Serialize + serde::de::DeserializeOwned> Codec<E> {
    /// Postcard, a compact form of bytes, as the type's `Serialize` and `Deserialize` have it.
    #[must_use]
    pub const fn postcard() -> Self {
        Self {
            form: Form::Bytes {
                encoding: Encoding::Postcard,
                encode: |event, buffer| {
                    let taken = std::mem::take(buffer);
                    *buffer =
                        postcard::to_extend(event, taken).map_err(|error| error.to_string())?;
                    Ok(())
                },
                decode: |bytes| match postcard::take_from_bytes(bytes) {
                    Ok((event, [])) => Ok(event),
                    Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
                    Err(error) => Err(error.to_string()),
                },
            },
        }
    }
}

#[cfg(feature = "json")]
impl<E: serde::Serialize + serde::de::DeserializeOwned> Codec<E> {
    /// JSON, as the type's `Serialize` and `Deserialize` have it.
    #[must_use]
    pub const fn json() -> Self {
        Self {
            form: Form::Text {
                encoding: Encoding::Json,
                encode: |event| serde_json::to_string(event).map_err(|error| error.to_string()),
                decode: |text| serde_json::from_str(text).map_err(|error| error.to_string()),
            },
        }
    }
}

/// The name of the codec whose text is a JSON value.
#[cfg(feature = "json")]
pub(crate) const JSON: &str = "json";

impl<E> Clone for Form<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Form<E> {}

impl<E> Clone for Codec<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Codec<E> {}

impl<E> fmt::Debug for Codec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codec({})", self.encoding().name())
    }
}

type DecodeBytes = fn(&[u8], Class, bool, Head) -> Option<Result<Slot, String>>;

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
    decode_bytes: DecodeBytes,
    look: fn(&[u8]) -> Option<Look>,
}

/// What a type's codec says of bytes: what it makes of values, and the key's hash of the value that these are.
type Look = (Encoding, Result<Option<u64>, String>);

impl TextFns {
    pub(crate) fn of<E: Event>() -> Self {
        Self {
            key: |kept| {
                let event = kept.get(EventType::<E>::of())?;
                let key = contain(|| event.key().to_text());
                key.unwrap_or_else(|panic| Some(format!("(its key panicked: {panic})")))
            },
            codec: || {
                let codec = codec::<E>()?;
                codec.to_text().map(|_| codec.encoding().name())
            },
            encode: |kept| {
                let (encode, _) = codec::<E>()?.to_text()?;
                let Some(event) = kept.get(EventType::<E>::of()) else {
                    return Some(Err(
                        "the value is gone: a handler took it and did not give it back".to_owned(),
                    ));
                };
                Some(guarded("encoding", || encode(event)))
            },
            decode: |text, class, head| {
                let (_, decode) = codec::<E>()?.to_text()?;
                Some(guarded("decoding", || {
                    let event = decode(text)?;
                    Ok(at_rest(event, class, head))
                }))
            },
            decode_bytes: |bytes, class, is_keyed, head| {
                let event = codec::<E>()?.decode(bytes);
                Some(event.map(|event| {
                    Slot::by_value(move |slot: &mut MaybeUninit<Slot>| {
                        Slot::write(slot, EventType::of(), class, is_keyed, head, event)
                    })
                }))
            },
            look: |bytes| {
                let codec = codec::<E>()?;
                let key = codec.decode(bytes).and_then(|event| {
                    let key = contain(|| event.key().hash());
                    key.map_err(|panic| format!("its key panicked: {panic}"))
                });
                Some((codec.encoding(), key))
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

    /// An event from what its codec wrote to the store, with this envelope; `None` if the type has no codec.
    pub(crate) fn decode_bytes(
        &self,
        bytes: &[u8],
        class: Class,
        is_keyed: bool,
        head: Head,
    ) -> Option<Result<Slot, String>> {
        (self.decode_bytes)(bytes, class, is_keyed, head)
    }

    /// What the type's codec makes of values, and whether these bytes are one: the hash of its key, if it has one, or why
    /// they are none. `None` if the type has no codec.
    #[cfg_attr(
        not(feature = "json"),
        allow(dead_code, reason = "only files of JSON lines are read so far")
    )]
    pub(crate) fn look(&self, bytes: &[u8]) -> Option<Look> {
        (self.look)(bytes)
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
pub(crate) fn codec<E: Event>() -> Option<Codec<E>> {
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
