//! The result: rows, as a table or as JSON.

use serde::Serialize;

/// One system under one load. A peer has a row for each variant of ringbolt that it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) topology: &'static str,
    pub(crate) payload_bytes: usize,
    pub(crate) batch: u64,
    /// Of the ringbolt variant: `each` or `adaptive`.
    pub(crate) stamps: &'static str,
    /// Of the ringbolt variant: `asymmetric`, `fence` or `spin`.
    pub(crate) wake: &'static str,
    pub(crate) system: &'static str,
    /// The median of the rounds.
    pub(crate) ns_per_event: f64,
    pub(crate) ns_min: f64,
    pub(crate) ns_max: f64,
    /// ringbolt's median / this peer's fastest round: below 1 ringbolt is the cheaper. None for ringbolt itself.
    pub(crate) ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Rows<'a> {
    rows: &'a [Row],
}

/// The rows as one JSON object.
pub(crate) fn json(rows: &[Row]) -> Result<String, String> {
    serde_json::to_string_pretty(&Rows { rows }).map_err(|error| format!("rows as JSON: {error}"))
}

const HEAD: [&str; 9] = [
    "topology", "batch", "stamps", "wake", "system", "ns/event", "min", "max", "ratio",
];
/// Columns that hold words stand to the left, numbers to the right.
const IS_WORD: [bool; 9] = [true, false, true, true, true, false, false, false, false];

/// The rows as an aligned table, a gap between the variants.
pub(crate) fn text(rows: &[Row]) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(cells).collect();
    let mut widths = HEAD.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut lines = vec![line(&HEAD.map(String::from), &widths)];
    for (row, cells) in rows.iter().zip(&cells) {
        if row.ratio.is_none() {
            lines.push(String::new());
        }
        lines.push(line(cells, &widths));
    }
    lines.push(String::new());
    lines.push(String::from(
        "ratio: ringbolt's median / the peer's fastest round; below 1 ringbolt is the cheaper",
    ));
    lines.join("\n")
}

fn cells(row: &Row) -> [String; 9] {
    [
        row.topology.to_owned(),
        row.batch.to_string(),
        row.stamps.to_owned(),
        row.wake.to_owned(),
        row.system.to_owned(),
        format!("{:.1}", row.ns_per_event),
        format!("{:.1}", row.ns_min),
        format!("{:.1}", row.ns_max),
        row.ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
    ]
}

fn line(cells: &[String; 9], widths: &[usize; 9]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .zip(IS_WORD)
        .map(|((cell, &width), is_word)| {
            if is_word {
                format!("{cell:width$}")
            } else {
                format!("{cell:>width$}")
            }
        })
        .collect();
    padded.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        let own = Row {
            topology: "one_to_one",
            payload_bytes: 32,
            batch: 1,
            stamps: "adaptive",
            wake: "asymmetric",
            system: "ringbolt",
            ns_per_event: 20.0,
            ns_min: 19.0,
            ns_max: 25.5,
            ratio: None,
        };
        let peer = Row {
            system: "crossbeam-channel",
            ns_per_event: 31.25,
            ratio: Some(0.8),
            ..own.clone()
        };
        [own, peer]
    }

    #[test]
    fn json_has_the_fields_in_their_order_and_null_for_no_ratio() {
        let text = json(&rows()).expect("rows are plain data");
        let compact: String = text.split_whitespace().collect();
        assert!(
            compact.starts_with(
                r#"{"rows":[{"topology":"one_to_one","payload_bytes":32,"batch":1,"stamps":"adaptive","wake":"asymmetric","system":"ringbolt","ns_per_event":20.0,"ns_min":19.0,"ns_max":25.5,"ratio":null},"#
            ),
            "{compact}"
        );
        assert!(compact.ends_with(r#""ratio":0.8}]}"#), "{compact}");
    }

    #[test]
    fn the_table_is_aligned() {
        let text = text(&rows());
        let lines: Vec<&str> = text.lines().collect();
        let end = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
        assert_eq!(end(lines[0], "ns/event"), end(lines[2], "20.0"));
        assert_eq!(end(lines[0], "ns/event"), end(lines[3], "31.2"));
        assert_eq!(end(lines[0], "ratio"), end(lines[3], "0.80"));
    }
}
