//! Upcasters: chains, splits, and what they do not know.

use super::tests_common::{append, tiny};
use super::*;
use crate::event::{Class, Codec, Encoding};

/// An event of text, of a name and version of its own.
macro_rules! event {
    ($type:ident, $name:literal, $version:literal) => {
        #[derive(Debug, PartialEq)]
        struct $type(String);

        impl Event for $type {
            const NAME: &'static str = $name;
            const VERSION: u16 = $version;
            fn codec() -> Option<Codec<Self>> {
                Some(Codec::new(
                    |event| Ok(event.0.clone()),
                    |text| match text {
                        "bad" => Err("a bad one".to_owned()),
                        text => Ok(Self(text.to_owned())),
                    },
                ))
            }
        }
    };
}

event!(One, "upcast.text", 1);
event!(Two, "upcast.text", 2);
event!(Three, "upcast.text", 3);
event!(Four, "upcast.text", 4);
event!(Line, "upcast.line", 1);

fn store_of(events: &[One]) -> EventStore {
    let store = tiny(Retention::everything());
    store.append_all("s", ExpectedVersion::Any, events).unwrap();
    store
}

/// What the log's records are as `E`s, one list a record, an error as its text.
fn read<E: Event + Into<String>>(store: &EventStore, upcasters: &Upcasters) -> Vec<String> {
    let reader = store.reader();
    let records = reader.read(Query::all()).unwrap();
    records
        .map(|record| match upcasters.read::<E>(&record.unwrap()) {
            Ok(events) => events
                .into_iter()
                .map(Into::into)
                .collect::<Vec<String>>()
                .join(","),
            Err(error) => error.to_string(),
        })
        .collect()
}

macro_rules! into_text {
    ($($type:ident),*) => {$(
        impl From<$type> for String {
            fn from(event: $type) -> Self {
                event.0
            }
        }
    )*};
}

into_text!(One, Two, Three, Four, Line);

fn more(bytes: &[u8], with: &str) -> Result<Vec<u8>, String> {
    Ok([bytes, with.as_bytes()].concat())
}

#[test]
fn a_chain_leads_from_the_stored_version_to_the_one_that_is_wanted() {
    let store = store_of(&[One("a".to_owned())]);
    store
        .append("s", ExpectedVersion::Any, &Two("b".to_owned()))
        .unwrap();
    store
        .append("s", ExpectedVersion::Any, &Four("c".to_owned()))
        .unwrap();
    // By bytes, by types and by bytes again.
    let upcasters = Upcasters::new()
        .one("upcast.text", 1, |bytes| more(bytes, "2"))
        .typed(|two: Two| Three(format!("{}3", two.0)))
        .one("upcast.text", 3, |bytes| more(bytes, "4"));
    assert_eq!(read::<Four>(&store, &upcasters), ["a234", "b34", "c"]);
    let not_back = "record 2 is a \"upcast.text\" of version 4, not a \"upcast.text\" of version 3";
    assert_eq!(read::<Three>(&store, &upcasters), ["a23", "b3", not_back]);
    assert_eq!(read::<One>(&store, &upcasters)[0], "a");
    let upcasters = upcasters.unknown(UnknownType::Skip);
    assert_eq!(read::<Three>(&store, &upcasters), ["a23", "b3", ""]);
    let reader = store.reader();
    let record = reader.get(0).unwrap().unwrap();
    let now = upcasters.upcast(&record).unwrap();
    assert!(now[0].is::<Four>() && now[0].record().type_version() == 1);
    assert_eq!(now[0].decode::<Four>().unwrap(), Four("a234".to_owned()));
    assert_eq!(now[0].decode_if::<Three>().unwrap(), None);
    assert_eq!(now[0].raw().unwrap().payload(), b"a234");
}

#[test]
fn one_event_becomes_several_in_order_or_none() {
    let texts = ["x y z", "", "bad w"].map(|text| One(text.to_owned()));
    let store = store_of(&texts);
    let split = |raw: &Raw<'_>| {
        let text = std::str::from_utf8(raw.payload()).map_err(|error| error.to_string())?;
        Ok(text
            .split_whitespace()
            .map(|word| Raw::new("upcast.line", 1, Encoding::Text, word.as_bytes().to_vec()))
            .collect())
    };
    let upcasters = Upcasters::new().many("upcast.text", 1, split);
    let bad = "record 2 cannot be read as \"upcast.text\": a bad one";
    assert_eq!(read::<Line>(&store, &upcasters), ["x,y,z", "", bad]);

    // A chain goes on behind a split, each with its own.
    let upcasters = Upcasters::new()
        .typed_many(|one: One| {
            let words: Vec<_> = one.0.split_whitespace().map(str::to_owned).collect();
            words.into_iter().map(Two)
        })
        .typed(|two: Two| Three(format!("{}3", two.0)));
    assert_eq!(
        read::<Three>(&store, &upcasters),
        ["x3,y3,z3", "", "bad3,w3"]
    );
    let reader = store.reader();
    let record = reader.get(0).unwrap().unwrap();
    let now = upcasters.upcast(&record).unwrap();
    let texts: Vec<_> = now
        .iter()
        .map(|event| event.decode::<Three>().unwrap().0)
        .collect();
    assert_eq!(texts, ["x3", "y3", "z3"]);
}

#[test]
fn unknown_types_are_errors_or_left_out_or_bytes() {
    let store = tiny(Retention::everything());
    let mut batch = store.batch();
    batch
        .push_foreign(&super::batch::Foreign {
            stream: "s",
            event_type: "upcast.foreign",
            type_version: 7,
            encoding: Encoding::Json,
            id: crate::event::EventId::from_u128(5).unwrap(),
            correlation: None,
            causation: None,
            stamp: None,
            class: Class::Normal,
            key: None,
            metadata: None,
            payload: b"{\"a\":1}",
        })
        .unwrap();
    batch.commit().unwrap();
    append(&store, 0..1);
    let reader = store.reader();
    let record = reader.get(0).unwrap().unwrap();
    let check = |unknown, expected: Result<usize, &str>| {
        let upcasters = Upcasters::new().unknown(unknown);
        let found = upcasters.upcast(&record).map(|found| found.len());
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expected.map_err(str::to_owned)
        );
        let known = reader.get(1).unwrap().unwrap();
        assert_eq!(upcasters.upcast(&known).unwrap().len(), 1);
    };
    check(
        UnknownType::Error,
        Err(
            "record 0 cannot be read as \"upcast.foreign\": the type \"upcast.foreign\" of version 7 is not known \
             (say `knows`, add an upcaster, or skip it)",
        ),
    );
    check(UnknownType::Skip, Ok(0));
    check(UnknownType::Raw, Ok(1));
    let upcasters = Upcasters::new().unknown(UnknownType::Raw);
    let found = upcasters.upcast(&record).unwrap();
    let raw = found[0].raw().unwrap();
    assert_eq!(
        (raw.event_type(), raw.version(), raw.payload()),
        ("upcast.foreign", 7, &b"{\"a\":1}"[..])
    );
    #[cfg(feature = "json")]
    assert_eq!(raw.json().unwrap()["a"], 1);
}

#[cfg(feature = "json")]
#[test]
fn json_values_are_upcast_as_values() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Old {
        name: String,
    }
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct New {
        first: String,
        last: String,
    }
    impl Event for Old {
        const NAME: &'static str = "upcast.named";
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::json())
        }
    }
    impl Event for New {
        const NAME: &'static str = "upcast.named";
        const VERSION: u16 = 2;
        fn codec() -> Option<Codec<Self>> {
            Some(Codec::json())
        }
    }
    let store = tiny(Retention::everything());
    let old = Old {
        name: "Ada Lovelace".to_owned(),
    };
    store.append("s", ExpectedVersion::Any, &old).unwrap();
    store
        .append("s", ExpectedVersion::Any, &One("text".to_owned()))
        .unwrap();
    let names = |mut value: serde_json::Value| {
        let name = value["name"].take();
        let (first, last) = name
            .as_str()
            .and_then(|name| name.split_once(' '))
            .ok_or("a name without a blank")?;
        Ok(serde_json::json!({ "first": first, "last": last }))
    };
    let upcasters = Upcasters::new()
        .json("upcast.named", 1, names)
        .json("upcast.text", 1, Ok);
    let reader = store.reader();
    let record = reader.get(0).unwrap().unwrap();
    let new = New {
        first: "Ada".to_owned(),
        last: "Lovelace".to_owned(),
    };
    assert_eq!(upcasters.read::<New>(&record).unwrap()[..], [new]);
    let text = reader.get(1).unwrap().unwrap();
    assert_eq!(
        upcasters.upcast(&text).unwrap_err().to_string(),
        "record 1 cannot be read as \"upcast.text\": the upcaster of \"upcast.text\" from version 1: it is text, not json"
    );
}

#[test]
fn an_upcaster_that_fails_panics_or_goes_in_circles_is_an_error() {
    let store = store_of(&[One("a".to_owned())]);
    let check = |upcasters: Upcasters, expected: &str| {
        let found = read::<Four>(&store, &upcasters).remove(0);
        let start = "record 0 cannot be read as \"upcast.text\": the upcaster of ";
        assert_eq!(found.strip_prefix(start), Some(expected), "{found}");
    };
    check(
        Upcasters::new().one("upcast.text", 1, |_| Err("not this one".to_owned())),
        "\"upcast.text\" from version 1: not this one",
    );
    check(
        Upcasters::new().one("upcast.text", 1, |_| panic!("no")),
        "\"upcast.text\" from version 1: panicked: no",
    );
    check(
        Upcasters::new()
            .typed(|one: One| Line(one.0))
            .typed(|line: Line| One(line.0)),
        "\"upcast.text\" from version 1 is the last of 64: they go in circles",
    );
}

#[test]
#[should_panic(expected = "event \"upcast.text\", version 1: there is an upcaster already")]
fn two_upcasters_of_one_version_are_a_mistake() {
    let _ = Upcasters::new()
        .typed(|one: One| Two(one.0))
        .one("upcast.text", 1, |bytes| Ok(bytes.to_vec()));
}
