//! Lines out and in: a log comes back as it was, and what is no event is told.

use super::*;
use crate::event::{Codec, Event, Key};
use crate::store::{Draft, Query};
use proptest::prelude::*;
use serde_json::json;
use std::path::PathBuf;

const ID: &str = "01a20e0e-3555-7aa5-b08a-e6aa7400011f";

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Plain {
    number: u64,
}

impl Event for Plain {
    const NAME: &'static str = "import.plain";
    fn key(&self) -> Key<'_> {
        Key::U64(self.number % 3)
    }
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::pod())
    }
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Paid {
    cents: u64,
    note: String,
}

impl Event for Paid {
    const NAME: &'static str = "import.paid";
    const VERSION: u16 = 3;
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::json())
    }
}

struct Said(&'static str);

impl Event for Said {
    const NAME: &'static str = "import.said";
    fn codec() -> Option<Codec<Self>> {
        Some(Codec::new(|said| Ok(said.0.to_owned()), |_| Ok(Said(""))))
    }
}

fn store() -> EventStore {
    let builder = EventStore::builder().segment_bytes(1 << 16);
    builder.populate(false).build().unwrap()
}

fn lines(store: &EventStore) -> String {
    let mut lines = Vec::new();
    store.export(&mut lines, Query::all()).unwrap();
    String::from_utf8(lines).unwrap()
}

fn members(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// What is imported gives these lines again, and everything that can be asked of a record is the same.
fn comes_back(store: &EventStore) -> String {
    let text = lines(store);
    let copy = self::store();
    let report = copy.import(text.as_bytes());
    assert_eq!(report.faults, []);
    assert_eq!(report.renumbered, 0);
    assert_eq!(lines(&copy), text);
    let (reader, other) = (store.reader(), copy.reader());
    let all = || Query::all().with_marks();
    let (left, right) = (reader.read(all()).unwrap(), other.read(all()).unwrap());
    for (left, right) in left.zip(right) {
        let (left, right) = (left.unwrap(), right.unwrap());
        assert_eq!(left.payload(), right.payload());
        assert_eq!(left.header.key, right.header.key);
        assert_eq!(left.encoding(), right.encoding());
        assert_eq!(
            (left.batch_left(), left.time()),
            (right.batch_left(), right.time())
        );
        assert!(left.metadata().eq(right.metadata()));
    }
    // A second time it is all there.
    let again = copy.import(text.as_bytes());
    let marks = store.stats().marks;
    if marks == 0 {
        assert_eq!((again.events, again.refused), (0, 0));
        assert_eq!(again.duplicates, report.events);
        assert_eq!(lines(&copy), text);
    }
    text
}

#[test]
fn a_log_comes_back_as_it_was() {
    let store = store();
    let any = ExpectedVersion::Any;
    let paid = Paid {
        cents: 5,
        note: "a \"quote\"\n\u{7f}\u{2028}ä".to_owned(),
    };
    store.append("order-7", any, &paid).unwrap();
    let metadata = Metadata::new()
        .with("tenant", "7")
        .with("with space", "x")
        .with("control", "a\u{1}b")
        .with("cloudevents:source", "\"/elsewhere\"")
        .with("cloudevents:ratio", "5")
        .with("cloudevents:id", "\"no\"")
        .with("cloudevents:text", "\"no attribute\"")
        .with("ringboltkey", "mine")
        .with("id", "not the id")
        .with("ratio", "twice")
        .with("", "empty");
    let draft = Draft::new(&paid)
        .id(EventId::from_u128(77).unwrap())
        .correlation(EventId::from_u128(78).unwrap())
        .causation(EventId::from_u128(79).unwrap())
        .class(Class::Critical)
        .metadata(&metadata);
    store.append("order-7", any, draft).unwrap();
    store
        .append("odd \u{7} name\n", any, &Said("tell\u{0} me"))
        .unwrap();
    for number in 0..5 {
        store.append("plain", any, &Plain { number }).unwrap();
    }
    store
        .append("plain", any, Draft::new(&Plain { number: 1 }).key("other"))
        .unwrap();
    store
        .append("plain", any, Draft::new(&Plain { number: 1 }).key("plain"))
        .unwrap();
    let mut batch = store.batch();
    for number in 0..4 {
        batch.push("a", &Plain { number }).unwrap();
        batch.push("b", &Said("")).unwrap();
    }
    batch.commit().unwrap();
    let text = comes_back(&store);
    for line in text.lines() {
        check(members(line).as_object().unwrap()).unwrap();
    }
    let all: Vec<Value> = text.lines().map(members).collect();
    assert_eq!(all[0]["data"], json!({"cents": 5, "note": paid.note}));
    assert_eq!(
        (&all[0]["subject"], &all[0]["ringbolttypeversion"]),
        (&json!("order-7"), &json!(3))
    );
    assert_eq!(all[0]["correlationid"], all[0]["id"]);
    assert!(all[0].get("ringboltkey").is_none() && all[3].get("ringboltkey").is_none());
    assert_eq!(
        (&all[1]["source"], &all[1]["ratio"]),
        (&json!("/elsewhere"), &json!(5))
    );
    assert_eq!(
        (&all[1]["tenant"], &all[1]["ringboltclass"]),
        (&json!("7"), &json!("critical"))
    );
    assert_eq!(all[2]["data"], "tell\u{0} me");
    assert_eq!(all[3]["data_base64"], "AAAAAAAAAAA=");
    assert_eq!(all[8]["ringboltkey"].as_str().unwrap().len(), 16);
    assert_eq!(all[9]["ringboltkey"], "stream");
    assert_eq!(
        (&all[10]["ringboltbatch"], all[17].get("ringboltbatch")),
        (&json!("7"), None)
    );
}

#[test]
fn marks_come_back_at_their_places() {
    let store = store();
    for number in 0..6 {
        let stream = format!("s{}", number % 2);
        store
            .append(&stream, ExpectedVersion::Any, &Plain { number })
            .unwrap();
    }
    store.truncate("s0", 2).unwrap();
    store.delete("s1", ExpectedVersion::Exact(2)).unwrap();
    store
        .append("s0", ExpectedVersion::Exact(2), &Said("after"))
        .unwrap();
    let text = comes_back(&store);
    let copy = self::store();
    let report = copy.import(text.as_bytes());
    assert_eq!((report.events, report.marks), (7, 2));
    assert_eq!(copy.stream_state("s1"), StreamState::Deleted(2));
    let reader = copy.reader();
    assert!(reader.read(Query::stream("s0").from(1)).is_err());
    assert_eq!(reader.read(Query::stream("s0")).unwrap().count(), 2);
    // Marks alone are there already; what a deleted stream had cannot be brought again.
    let again = copy.import(text.as_bytes());
    assert_eq!((again.events, again.marks, again.refused), (0, 0, 3));
    assert!(
        again.faults[0].message.contains("was deleted"),
        "{:?}",
        again.faults
    );
}

#[test]
fn a_part_of_a_log_is_numbered_anew() {
    let store = store();
    for number in 0..6 {
        let stream = format!("s{}", number % 2);
        store
            .append(&stream, ExpectedVersion::Any, &Plain { number })
            .unwrap();
    }
    let mut part = Vec::new();
    store
        .export(&mut part, Query::stream("s1").from(1))
        .unwrap();
    let copy = self::store();
    copy.append("s1", ExpectedVersion::Any, &Said("first"))
        .unwrap();
    let report = copy.import(&part[..]);
    assert_eq!(
        (report.events, report.renumbered, report.refused),
        (2, 2, 0)
    );
    assert_eq!(copy.stream_state("s1"), StreamState::At(2));
    let again = copy.import(&part[..]);
    assert_eq!((again.events, again.duplicates), (0, 2));
}

#[test]
fn an_append_is_imported_as_a_whole_or_not_at_all() {
    let store = store();
    store
        .append("a", ExpectedVersion::Any, &Said("before"))
        .unwrap();
    let mut batch = store.batch();
    for stream in ["a", "b", "c", "d"] {
        batch.push(stream, &Said("together")).unwrap();
    }
    batch.commit().unwrap();
    store
        .append("a", ExpectedVersion::Any, &Said("after"))
        .unwrap();
    let text = lines(&store);
    let good: Vec<&str> = text.lines().collect();
    for bad in 1..5 {
        for (from, to) in [("\"id\":\"", "\"id\":\"x"), ("{", "")] {
            let mut lines: Vec<String> = good.iter().map(|line| (*line).to_owned()).collect();
            lines[bad] = lines[bad].replacen(from, to, 1);
            let copy = self::store();
            let report = copy.import(lines.join("\n").as_bytes());
            // The first of an append that is no JSON at all tells nothing of the others.
            if bad == 1 && from == "{" {
                assert_eq!((report.events, report.refused), (5, 1));
                continue;
            }
            assert_eq!(
                (report.events, report.refused),
                (2, 4),
                "{bad}: {:?}",
                report.faults
            );
            assert_eq!(copy.stream_state("c"), StreamState::Missing);
            let culprit = report
                .faults
                .iter()
                .find(|fault| fault.line == bad as u64 + 1);
            assert!(!culprit.unwrap().message.contains("together"));
        }
    }
    // A part of it without the rest is one of its own.
    let copy = self::store();
    let part = [good[0], good[2], good[3], good[5]].join("\n");
    let report = copy.import(part.as_bytes());
    assert_eq!((report.events, report.refused), (4, 0));
}

#[test]
fn events_from_elsewhere_are_taken() {
    let store = store();
    let line = format!(
        r#"{{"specversion":"1.0","id":"{ID}","source":"/mill","type":"wheat.ground","subject":"mill-1","traceparent":"00-4","weight":5,"is_not":null,"dataschema":"urn:x","datacontenttype":"application/vnd.x+json","partitionkey":"p","data":{{"a" : 1.50}}}}"#
    )
    .replace("\"is_not\":null,", "");
    let untold = format!(
        r#"{{"specversion":"1.0","id":"{}","source":"/mill","type":"t","data":null}}"#,
        ID.replace("01a2", "02a2")
    );
    let text = format!(
        r#"{{"specversion":"1.0","id":"{}","source":"/mill","type":"t","subject":null,"datacontenttype":"text/plain","data":"ä"}}"#,
        ID.replace("01a2", "03a2")
    );
    let report = store.import(format!("\n{line}\r\n{untold}\n  \n{text}").as_bytes());
    assert_eq!(
        (report.events, report.refused),
        (3, 0),
        "{:?}",
        report.faults
    );
    let reader = store.reader();
    let record = reader.get(0).unwrap().unwrap();
    assert_eq!(
        (record.stream(), record.event_type()),
        ("mill-1", "wheat.ground")
    );
    assert_eq!(record.payload(), br#"{"a" : 1.50}"#);
    assert_eq!(
        (record.encoding(), record.type_version()),
        (Encoding::Json, 1)
    );
    assert_eq!(record.key_hash(), "p".as_key().hash());
    let metadata: Vec<_> = record.metadata().collect();
    assert!(metadata.contains(&("traceparent", "00-4")), "{metadata:?}");
    assert_eq!(reader.get(1).unwrap().unwrap().payload(), b"null");
    let last = reader.get(2).unwrap().unwrap();
    assert_eq!((last.stream(), last.payload()), ("/mill", "ä".as_bytes()));
    let back = members(comes_back(&store).lines().next().unwrap());
    let given = members(&line);
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&back[name], value, "{name}");
    }
}

#[test]
fn what_is_no_event_is_told_with_its_line_and_a_remedy() {
    Plain::encode_something();
    let base = json!({"specversion": "1.0", "id": ID, "source": "/s", "type": "t", "subject": "s"});
    let with = |name: &str, value: Value| {
        let mut line = base.clone();
        line[name] = value;
        line.to_string()
    };
    let known = |name: &str, value: Value| {
        let mut line = base.clone();
        line["type"] = "import.paid".into();
        line[name] = value;
        line.to_string()
    };
    for (line, words) in [
        ("nonsense".to_owned(), "the line is no JSON object"),
        ("[]".to_owned(), "the line is no JSON object"),
        (with("id", json!("7")), "give it a UUID"),
        (
            with("id", json!("00000000-0000-0000-0000-000000000000")),
            "not zero",
        ),
        (with("id", Value::Null), "has no id"),
        (with("specversion", json!("0.3")), "only \"1.0\" is known"),
        (with("time", json!("noon")), "is not RFC 3339"),
        (with("time", json!("1960-01-01T00:00:00Z")), "leave it away"),
        (with("data_base64", json!("abc")), "not base64"),
        (with("ringboltcodec", json!("xml")), "none of bytes"),
        (with("ringboltclass", json!("royal")), "none of critical"),
        (with("ringboltclass", json!(1)), "is no text"),
        (with("ringboltkey", json!("7")), "16 hexadecimal digits"),
        (
            with("ringboltkey", json!("+000000000000000")),
            "16 hexadecimal digits",
        ),
        (with("ringboltposition", json!("-1")), "whole number"),
        (with("ringbolttypeversion", json!(70_000)), "whole number"),
        (
            with("ringboltmark", json!("gone")),
            "neither deleted nor truncated",
        ),
        (
            with("ringboltmark", json!("truncated")),
            "before which version",
        ),
        (
            with("ringboltmark", json!("deleted")),
            "there is no such stream",
        ),
        (with("ringboltfuture", json!("x")), "later version"),
        (with("ringboltmetadata", json!("[]")), "ringboltmetadata: "),
        (
            with("ringboltstream", json!("\"\"")),
            "a stream's name of 0 bytes",
        ),
        (with("correlationid", json!("x")), "correlationid: "),
        (with("causationid", json!(true)), "give it a UUID"),
        (
            with("subject", json!("x".repeat(2_000))),
            "outside 1 to 1024",
        ),
        (
            with("data", json!("x".repeat(70_000))),
            "raise `segment_bytes`",
        ),
        (
            base.to_string()
                .replace("\"source\"", "\"id\":\"x\",\"source\""),
            "it is there twice",
        ),
        (
            known("data", json!({"cents": -1, "note": ""})),
            "no \"import.paid\" of version 3",
        ),
        (
            known("data_base64", json!("AAAA")),
            "the type has that codec",
        ),
        (
            known("ringboltcodec", json!("pod")),
            "the type has that codec",
        ),
    ] {
        let store = store();
        let report = store.import(format!("\n{line}\n{base}\n").as_bytes());
        assert_eq!((report.events, report.refused), (1, 1), "{line}");
        assert_eq!(report.faults[0].line, 2);
        let told = &report.faults[0].message;
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!(store.reader().end(), 1);
    }
    // Of another version it is another type, of which nothing is known.
    let store = store();
    let mut line = base;
    line["type"] = "import.paid".into();
    line["ringbolttypeversion"] = 2.into();
    assert_eq!(store.import(line.to_string().as_bytes()).events, 1);
}

impl Plain {
    /// So that the process knows the types.
    fn encode_something() {
        let store = store();
        let paid = Paid {
            cents: 1,
            note: String::new(),
        };
        store.append("s", ExpectedVersion::Any, &paid).unwrap();
    }
}

#[test]
fn a_reader_that_fails_ends_it_and_keeps_what_came_before() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            match self.0.read(to)? {
                0 => Err(io::Error::other("the cable is out")),
                count => Ok(count),
            }
        }
    }
    let line =
        json!({"specversion": "1.0", "id": ID, "source": "/s", "type": "t"}).to_string() + "\n";
    let store = store();
    let report = store.import(io::BufReader::new(Broken(line.as_bytes())));
    assert_eq!((report.events, report.refused), (1, 1));
    assert!(
        report.faults[0]
            .to_string()
            .starts_with("line 2: cannot be read: the cable")
    );
}

/// Where hand-made events lie beside a checkout; a machine without them checks less, and says so.
fn vectors(name: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/cloudevents/format-json")
        .join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        use std::io::Write as _;
        // Not `eprintln!`, which the test harness keeps to itself when a test passes.
        let told = writeln!(
            io::stderr(),
            "NOT CHECKED: the CloudEvents conformance vectors are not here ({name})"
        );
        told.unwrap();
        return Vec::new();
    };
    members(&text)["tests"].as_array().unwrap().clone()
}

#[test]
fn hand_made_events_are_taken_or_refused() {
    for test in vectors("valid-events.json") {
        let mut event = test["event"].clone();
        event["id"] = ID.into();
        let store = store();
        let report = store.import(event.to_string().as_bytes());
        assert_eq!(report.faults, [], "{}", test["id"]);
        let back = members(comes_back(&store).lines().next().unwrap());
        for (name, value) in event.as_object().unwrap() {
            let is_same = &back[name] == value
                || value.is_null()
                || name == "time"
                || (name == "data_base64" && back.get("data").is_some());
            assert!(is_same, "{}: {name}: {value} is {}", test["id"], back[name]);
        }
    }
    for test in vectors("invalid-events.json") {
        let mut event = test["event"].clone();
        if event["id"].as_str().is_some_and(|id| !id.is_empty()) {
            event["id"] = ID.into();
        }
        let report = store().import(event.to_string().as_bytes());
        assert_eq!((report.events, report.refused), (0, 1), "{}", test["id"]);
    }
}

proptest! {
    #[test]
    fn any_log_comes_back(
        events in proptest::collection::vec(
            (".{1,8}", "[a-z]{1,3}|.{0,6}", ".{0,6}", 0..4_usize, any::<u64>(), 0..3_u32),
            1..20,
        )
    ) {
        let store = store();
        let mut open = Vec::new();
        for (stream, name, value, class, number, more) in &events {
            let metadata = Metadata::new().with(name.clone(), value.clone());
            open.push((stream, metadata, Class::ALL[*class], *number));
            if *more == 0 || open.len() == 5 {
                let mut batch = store.batch();
                for (stream, metadata, class, number) in open.drain(..) {
                    let event = Plain { number };
                    let draft = Draft::new(&event).metadata(&metadata).class(class);
                    batch.push(stream, draft).unwrap();
                }
                batch.commit().unwrap();
            }
        }
        comes_back(&store);
    }

    #[test]
    fn any_bytes_are_an_event_or_told(at in 0..400_usize, byte: u8) {
        let store = store();
        store.append("s", ExpectedVersion::Any, &Said("x")).unwrap();
        let mut line = lines(&store).into_bytes();
        let end = line.len() - 1;
        line[at % end] = byte;
        let copy = self::store();
        let report = copy.import(&line[..]);
        prop_assert!(report.events + report.marks + report.refused >= 1);
        prop_assert_eq!(copy.reader().end(), report.events);
    }
}
