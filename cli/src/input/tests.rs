//! What is read from texts, and what is refused with which reason.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};
use proptest::sample::select;
use std::io::{Cursor, Write};

/// A record as its type and key, or an error as its line and reason.
type Read = Result<(String, Option<String>), (u64, String)>;

/// Reads a text as if it came from a pipe.
fn read(text: impl Into<Vec<u8>>, fields: &Fields) -> Vec<Read> {
    let source = Source {
        name: "text".into(),
        hint: None,
        origin: Origin::Open(Box::new(Cursor::new(text.into()))),
    };
    source
        .records(fields)
        .map(|record| match record {
            Ok((_, record)) => Ok((
                record.event_type.to_string(),
                record.key.map(|key| key.into_string()),
            )),
            Err(error) => Err((error.line, error.reason)),
        })
        .collect()
}

fn fields(event_type: &str, key: &str, time: &str) -> Fields {
    let field = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    Fields {
        event_type: field(event_type),
        key: field(key),
        time: field(time),
    }
}

fn ok(event_type: &str, key: Option<&str>) -> Read {
    Ok((event_type.to_owned(), key.map(str::to_owned)))
}

/// Reads a text and expects these lines to be refused, each for a reason with this word.
fn refused(text: &str, fields: &Fields, expected: &[(u64, &str)]) {
    let errors: Vec<_> = read(text, fields)
        .into_iter()
        .filter_map(Result::err)
        .collect();
    let fits = errors.len() == expected.len()
        && errors
            .iter()
            .zip(expected)
            .all(|((line, reason), (at, word))| line == at && reason.contains(word));
    assert!(fits, "{text}: {errors:?}, expected {expected:?}");
}

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;

#[test]
fn json_lines_are_read_by_pointers_and_names() {
    let text = "{\"a\":{\"k\":7},\"t\":\"x\"}\n\n  {\"a\":{\"k\":null}}\n\"text\"\n[1,2]\n";
    let all = [
        ok("x", Some("7")),
        ok("json", None),
        ok("json", None),
        ok("json", None),
    ];
    assert_eq!(read(text, &fields("/t", "/a/k", "")), all);
    assert_eq!(read(text, &fields("t", "/a/k", "")), all);
    assert_eq!(
        read("[1,2]\r\n[3,4]", &fields("", "/0", ""))[1],
        ok("json", Some("3"))
    );
}

#[test]
fn bad_json_lines_cost_themselves() {
    let text = "{\"k\":1}\n{\"k\":\n{\"k\":{}}\n{\"k\":2}\n";
    let records = read(text, &fields("", "/k", ""));
    assert_eq!(records.len(), 4);
    assert_eq!(records[3], ok("json", Some("2")));
    refused(
        text,
        &fields("", "/k", ""),
        &[(2, "is not JSON"), (3, "the key is an object")],
    );
    refused(
        "{\"t\":\"soon\"}",
        &fields("", "", "/t"),
        &[(1, "RFC 3339")],
    );
}

#[test]
fn cloudevents_take_their_key_from_partitionkey_then_subject() {
    let text = format!(
        "{EVENT},\"subject\":\"s\",\"partitionkey\":\"p\"}}\n{EVENT},\"subject\":\"s\"}}\n{EVENT}}}\n"
    );
    let all = [ok("t", Some("p")), ok("t", Some("s")), ok("t", None)];
    assert_eq!(read(text, &Fields::default()), all);
}

#[test]
fn arrays_are_read_over_many_lines() {
    let text =
        format!("[\n {EVENT},\"subject\":\"a ] , \\\" b\"}},\n {EVENT}}}\n]\n[]\n[{EVENT}}}]");
    let all = [ok("t", Some("a ] , \" b")), ok("t", None), ok("t", None)];
    assert_eq!(read(text, &Fields::default()), all);
}

#[test]
fn broken_arrays_are_told_by_their_line() {
    let none = Fields::default();
    refused(&format!("[{EVENT}}},\n{EVENT}}}"), &none, &[(2, "cut off")]);
    refused(&format!("[{EVENT}}}\n{EVENT}}}]"), &none, &[(2, "comma")]);
    refused(&format!("[{EVENT}}},\n]"), &none, &[(2, "comma")]);
    refused(
        &format!("[{EVENT}}},\n{{\"id\" 3}}]"),
        &none,
        &[(2, "is not JSON")],
    );
    refused(&format!("[7, {EVENT}}}]"), &none, &[(1, "not an object")]);
    refused(
        &format!("[{EVENT}}},\n7, {EVENT}}}]"),
        &none,
        &[(2, "not an object")],
    );
}

#[test]
fn a_file_that_begins_with_a_cloudevent_has_nothing_else() {
    let none = Fields::default();
    refused(
        &format!("{EVENT}}}\n{{\"a\":1}}\n{EVENT}}}"),
        &none,
        &[(2, "specversion")],
    );
    let almost = "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}";
    refused(almost, &none, &[(1, "has no specversion")]);
    let other = "{\"id\":1,\"source\":\"s\",\"type\":\"t\"}";
    assert_eq!(read(other, &none), [ok("json", None)]);
    assert_eq!(
        read(almost, &fields("/type", "/id", "")),
        [ok("t", Some("1"))]
    );
}

#[test]
fn cloudevents_are_refused_for_what_is_wrong_with_them() {
    for (member, word) in [
        (r#""datacontenttype":"text/plain; charset""#, "media type"),
        (r#""datacontenttype":"text/plain; a=\"b"#, "is not JSON"),
        (r#""dataschema":"no-scheme""#, "absolute URI"),
        (r#""subject":"a\u0007b""#, "control character"),
        (r#""partitionkey":"""#, "empty"),
        (r#""big":3000000000"#, "32 bits"),
        (r#""list":[]"#, "neither"),
        (r#""data_base64":"abc""#, "base64"),
        (r#""UPPER":1"#, "attribute name"),
    ] {
        refused(
            &format!("{EVENT},{member}}}"),
            &Fields::default(),
            &[(1, word)],
        );
    }
    for member in [
        r#""datacontenttype":"text/plain; charset=\"utf;8\"; v=1""#,
        r#""data_base64":"TWE=","data":null"#,
        r#""data":{"Any":[1.5]}"#,
    ] {
        let text = format!("{EVENT},{member}}}");
        assert_eq!(read(text, &Fields::default()), [ok("t", None)], "{member}");
    }
    let spaced = EVENT.replace("/s", "a b");
    refused(
        &format!("{spaced}}}"),
        &Fields::default(),
        &[(1, "URI reference")],
    );
}

#[test]
fn csv_is_read_by_columns() {
    let text = "sym,kind,at,note\nA,buy,1723075200,\"x\ny\"\nB,,,\n";
    let all = [ok("buy", Some("A")), ok("row", Some("B"))];
    assert_eq!(read(text, &fields("kind", "sym", "at")), all);
    assert_eq!(read(text, &fields("/kind", "/sym", "")), all);
    assert_eq!(read("", &fields("", "sym", "")), []);
}

#[test]
fn bad_rows_cost_themselves_and_a_missing_column_the_file() {
    let text = "sym,at\nA,1\nB\nC,2,3\nD,soon\nE,5\n";
    let by = fields("", "sym", "at");
    refused(
        text,
        &by,
        &[(3, "1 field(s)"), (4, "3 field(s)"), (5, "RFC 3339")],
    );
    assert_eq!(read(text, &by).last(), Some(&ok("row", Some("E"))));
    refused(
        text,
        &fields("", "symbol", ""),
        &[(1, "no column \"symbol\"")],
    );
}

#[test]
fn rows_are_told_by_the_line_they_begin_on() {
    let by = fields("", "k", "");
    for end in ["\n", "\r\n"] {
        for (text, line) in [
            ("k,v|a,1|b|c,3|", 3),
            ("k,v|a,1||||b|", 6),
            ("||k,v|a,1|b", 5),
            ("k,v|\"a|b|c\",1|b|", 5),
            ("k,v|a,1|\"b|c\"|", 3),
            ("k,v|a,1|\"b||\"|", 3),
        ] {
            refused(&text.replace('|', end), &by, &[(line, "1 field(s)")]);
        }
        refused(
            &"|k|a||".replace('|', end),
            &fields("", "x", ""),
            &[(2, "no column")],
        );
    }
    // Where a buffer ends is no matter.
    let wide = format!("k,v\r\n{},1\r\nb\r\n", "x".repeat(100_000));
    refused(&wide, &by, &[(3, "1 field(s)")]);
    for width in 8_180..8_200 {
        let text = format!("k,v\r\n{}\r\n\r\na,1\r\n", "x".repeat(width));
        refused(&text, &by, &[(2, "1 field(s)")]);
    }
}

#[test]
fn a_quote_that_is_not_closed_is_told() {
    let by = fields("", "k", "");
    for (text, line, good) in [
        ("k,v\na,\"1\nb,2\nc,3\n", 2, 0),
        ("k,v\na,1\nb,\"2", 3, 1),
        ("k,v\r\na,1\r\n\r\nb,\"2\"\"\r\n", 4, 1),
        ("k,\"v\n", 1, 0),
        ("\n\"k", 2, 0),
    ] {
        refused(text, &by, &[(line, "not closed")]);
        assert_eq!(read(text, &by).len(), good + 1, "{text:?}");
    }
    // None of these opens one.
    for text in [
        "k,v\na,5\" disk",
        "k,v\na,5\" disk\n",
        "k,v\na,\"1\"",
        "k,v\na,\"1\"\"\n\"\r\n",
    ] {
        assert_eq!(read(text, &by), [ok("row", Some("a"))], "{text:?}");
    }
}

#[test]
fn a_column_that_is_there_twice_cannot_be_named() {
    let text = "k,v,k\na,1,b\n";
    refused(text, &fields("", "k", ""), &[(1, "2 columns \"k\"")]);
    assert_eq!(read(text, &fields("", "v", "")), [ok("row", Some("1"))]);
}

#[test]
fn space_alone_is_nothing() {
    for text in ["", " ", "\n", "  \n\n \r\n\t", "\u{FEFF}", "\u{FEFF}\n"] {
        assert_eq!(read(text, &Fields::default()), [], "{text:?}");
    }
}

#[test]
fn what_is_too_long_is_not_collected() {
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let by = fields("", "k", "");
    for (text, line) in [
        (
            format!("{{\"k\":1}}\n{{\"k\":\"{long}\"}}\n{{\"k\":2}}\n"),
            2,
        ),
        (
            format!("[{{\"k\":1}},\n\n{{\"k\":\"{long}\"}},\n{{\"k\":2}}]"),
            3,
        ),
    ] {
        let read = read(text, &by);
        assert_eq!(read[1], Err((line, too_long())));
        assert_eq!(read[2..], [ok("json", Some("2"))]);
    }
    let read = read(format!("k,v\na,1\nb,\"{long}\"\nc,2\n"), &by);
    assert_eq!(read, [ok("row", Some("a")), Err((3, too_long()))]);
}

#[test]
fn what_is_too_deep_costs_itself_also_in_an_array() {
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let by = fields("", "k", "");
    for text in [
        format!("{{\"k\":1}}\n{deep}\n{{\"k\":2}}\n"),
        format!("[{{\"k\":1}},\n{deep},\n{{\"k\":2}}]"),
    ] {
        refused(&text, &by, &[(2, "nested too deep")]);
        assert_eq!(read(text, &by)[2..], [ok("json", Some("2"))]);
    }
    let brackets = format!("{}\n{{\"k\":2}}\n", "[".repeat(1_000_000));
    assert_eq!(read(brackets, &by)[1..], [ok("json", Some("2"))]);
}

#[test]
fn numbers_that_are_not_kept_exactly_are_no_keys() {
    let by = fields("", "k", "");
    for number in ["18446744073709551616", "-9223372036854775809", "1e300"] {
        let text = format!("{{\"k\":{number}}}");
        refused(&text, &by, &[(1, "too large to be kept exactly")]);
    }
    for number in ["18446744073709551615", "-9223372036854775808", "1.5"] {
        let text = format!("{{\"k\":{number}}}");
        assert_eq!(read(text, &by), [ok("json", Some(number))]);
    }
    refused("{\"k\":1e400}", &by, &[(1, "out of range")]);
}

#[test]
fn a_value_over_many_lines_is_told_what_to_do() {
    let none = Fields::default();
    let errors = read("{\n\"k\": 1\n}\n", &none);
    assert!(matches!(&errors[0], Err((1, reason)) if reason.contains("on one line")));
}

#[test]
fn what_is_told_neither_steers_a_terminal_nor_fills_it() {
    let event = EVENT.replace("\"1.0\"", &format!("[\"{}\"]", "\u{9b}2J".repeat(1_000)));
    let source = Source {
        name: "a\x1b[2J".into(),
        hint: None,
        origin: Origin::Open(Box::new(Cursor::new(format!("{event}}}")))),
    };
    let told: Vec<String> = source
        .records(&Fields::default())
        .filter_map(|record| Some(record.err()?.to_string()))
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("a\\u{1b}[2J:1: specversion is") && told[0].len() < 600);
    assert!(told[0].ends_with("...") && !told[0].contains(char::is_control));
}

#[test]
fn gzip_is_told_by_its_first_bytes_and_may_have_members() {
    let pack = |text: &str| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(text.as_bytes()).expect("memory takes all");
        packer.finish().expect("memory takes all")
    };
    let mut bytes = pack("\u{FEFF}{\"k\":1}\n");
    bytes.extend(pack("{\"k\":2}\n"));
    let by = fields("", "k", "");
    assert_eq!(
        read(bytes.clone(), &by),
        [ok("json", Some("1")), ok("json", Some("2"))]
    );
    bytes.truncate(bytes.len() - 12);
    let cut = read(bytes, &by);
    assert!(matches!(cut.last(), Some(Err((_, reason))) if reason.contains("cannot be read")));
}

/// Hands over so many bytes at a time.
struct Drip(Cursor<Vec<u8>>, usize);

impl io::Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = buffer.len().min(self.1);
        self.0.read(&mut buffer[..end])
    }
}

#[test]
fn a_pipe_may_hand_over_single_bytes() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer
        .write_all("\u{FEFF} \n{\"k\":1}".as_bytes())
        .expect("memory takes all");
    let packed = packer.finish().expect("memory takes all");
    for (bytes, line) in [(packed, 2), (b"\n\n {\"k\":1}\n".to_vec(), 3)] {
        let source = Source {
            name: "drip".into(),
            hint: None,
            origin: Origin::Open(Box::new(Drip(Cursor::new(bytes), 1))),
        };
        let records: Vec<_> = source.records(&fields("", "k", "")).collect();
        let keys: Vec<_> = records
            .iter()
            .map(|record| {
                record
                    .as_ref()
                    .map(|(line, record)| (*line, record.key.as_deref()))
            })
            .collect();
        assert_eq!(keys, [Ok((line, Some("1")))]);
    }
}

#[test]
fn the_format_is_told_by_the_name() {
    for (name, kind) in [
        ("a.csv", Some(Kind::Csv)),
        ("a.CSV.gz", Some(Kind::Csv)),
        ("a.jsonl", Some(Kind::Json)),
        ("a.json.gz", Some(Kind::Json)),
        ("a.gz", None),
        ("csv", None),
    ] {
        assert_eq!(hint_of(Path::new(name)), kind, "{name}");
    }
}

/// Keys with the lines they begin on, read in pieces of so many bytes.
fn placed(text: &str, piece: usize) -> Vec<(u64, String)> {
    let source = Source {
        name: "pieces".into(),
        hint: None,
        origin: Origin::Open(Box::new(Drip(Cursor::new(text.into()), piece))),
    };
    source
        .records(&fields("", "k", ""))
        .map(|record| {
            let (line, record) = record.expect("a good text");
            (line, record.key.expect("every record has one").into())
        })
        .collect()
}

proptest! {
    /// However values are quoted, lines end and buffers are filled, every row is there, on its line.
    #[test]
    fn rows_are_found_wherever_they_lie(
        rows in vec((r#"[a-c",\r\n ]{0,6}[a-c]"#, 0..3_usize), 0..20),
        end in select(vec!["\n", "\r\n"]),
        is_ended: bool,
        piece in 1..40_usize,
    ) {
        let mut text = format!("v,k{end}");
        let mut expected = Vec::new();
        for (row, (value, blanks)) in rows.iter().enumerate() {
            text += &end.repeat(*blanks);
            let line = 1 + text.matches('\n').count() as u64;
            text += &format!("\"{}\",{row}", value.replace('"', "\"\""));
            if is_ended || row + 1 < rows.len() {
                text += end;
            }
            expected.push((line, row.to_string()));
        }
        prop_assert_eq!(placed(&text, piece), expected);
    }

    /// However values are laid out, by lines and in arrays, each is there, on its line.
    #[test]
    fn values_are_found_wherever_they_lie(
        batches in vec((1..5_usize, any::<bool>(), r#"[\[\]{},"\\ a]{0,6}"#), 0..12),
        space in select(vec!["", "\n", " \r\n\n"]),
        piece in 1..40_usize,
    ) {
        let mut text = String::new();
        let mut expected = Vec::new();
        for (count, is_array, value) in &batches {
            for place in 0..*count {
                text += match (is_array, place) {
                    (true, 0) => "[",
                    (true, _) => ",",
                    (false, _) => "",
                };
                text += space;
                let key = expected.len().to_string();
                expected.push((1 + text.matches('\n').count() as u64, key.clone()));
                text += &serde_json::json!({"v": value, "k": key}).to_string();
                text += if *is_array { space } else { "\n" };
            }
            text += if *is_array { "]\n" } else { "" };
        }
        prop_assert_eq!(placed(&text, piece), expected);
    }
}
