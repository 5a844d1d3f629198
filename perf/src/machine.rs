//! The machine: what it is, where threads go, and what a line costs between two of its cores.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Round trips in one measurement of the ping-pong, and measurements.
const ROUND_TRIPS: u64 = 200_000;
const MEASUREMENTS: usize = 5;
/// As many threads as any topology has are placed by name.
const PLACES: usize = 16;

/// Where the threads of a round run: the workers first, then the publishers. Without a place a thread runs
/// where the kernel likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    places: [Option<usize>; PLACES],
    workers: usize,
}

impl Placement {
    /// Nobody is pinned.
    pub(crate) const FREE: Self = Self {
        places: [None; PLACES],
        workers: 0,
    };

    pub(crate) fn worker(self, index: usize) -> Option<usize> {
        self.places.get(index).copied().flatten()
    }

    pub(crate) fn publisher(self, index: usize) -> Option<usize> {
        self.worker(self.workers + index)
    }
}

/// Pins the calling thread, if it has a place; a refusal leaves it free.
pub(crate) fn pin(processor: Option<usize>) {
    if let Some(id) = processor {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

/// What was found out about the machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    model: String,
    /// Usable processors: the first of each core, then their siblings.
    processors: Vec<usize>,
    round_trip_ns: Option<f64>,
}

impl Machine {
    /// Looks at the processors and measures the way between two of them.
    pub(crate) fn look() -> Result<Self, String> {
        let mut machine = Self {
            model: model(),
            processors: processors(),
            round_trip_ns: None,
        };
        let placement = machine.place(1, 1);
        if placement != Placement::FREE {
            machine.round_trip_ns = Some(round_trip_ns(placement)?);
        }
        Ok(machine)
    }

    /// A processor for each of so many threads, or none for any.
    pub(crate) fn place(&self, workers: usize, publishers: usize) -> Placement {
        let threads = workers + publishers;
        let mut placement = Placement::FREE;
        if threads <= self.processors.len() && threads <= PLACES {
            placement.workers = workers;
            for (place, processor) in placement.places.iter_mut().zip(&self.processors[..threads]) {
                *place = Some(*processor);
            }
        }
        placement
    }

    /// How many processors this process may use; at least one.
    pub(crate) fn cores(&self) -> usize {
        self.processors.len().max(1)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.processors.len();
        write!(
            f,
            "machine: {}, {count} processor{}, {}-{}\ncore to core: ",
            self.model,
            if count == 1 { "" } else { "s" },
            std::env::consts::ARCH,
            std::env::consts::OS,
        )?;
        match self.round_trip_ns {
            Some(ns) => write!(f, "{ns:.0} ns for a ping and a pong"),
            None => write!(f, "not measured, there is one processor"),
        }
    }
}

/// The processor's name, where the system tells.
fn model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| model_in(&text))
        .unwrap_or_else(|| String::from("unnamed processor"))
}

fn model_in(cpuinfo: &str) -> Option<String> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "model name")
        .map(|(_, value)| value.trim().to_owned())
}

/// The processors this process may use. Two threads on one core would share its units, so siblings come last.
fn processors() -> Vec<usize> {
    let mut ids: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    ids.sort_by_key(|&id| {
        let path = format!("/sys/devices/system/cpu/cpu{id}/topology/thread_siblings_list");
        let is_sibling = fs::read_to_string(path).is_ok_and(|list| first_in(&list) != Some(id));
        (is_sibling, id)
    });
    ids
}

/// The first processor of a kernel's list such as `0,32` or `4-5`.
fn first_in(list: &str) -> Option<usize> {
    let digits = list.trim().split([',', '-']).next()?;
    digits.parse().ok()
}

/// A word on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Word(AtomicU64);

/// The median time for a word to reach the other core and the answer to come back.
fn round_trip_ns(placement: Placement) -> Result<f64, String> {
    let words = Arc::new((Word::default(), Word::default()));
    let other = Arc::clone(&words);
    let last = ROUND_TRIPS * MEASUREMENTS as u64;
    let answering = thread::spawn(move || {
        pin(placement.worker(0));
        for number in 1..=last {
            while other.0.0.load(Ordering::Acquire) != number {
                std::hint::spin_loop();
            }
            other.1.0.store(number, Ordering::Release);
        }
    });
    let asking = thread::spawn(move || {
        pin(placement.publisher(0));
        let mut number = 0;
        let mut measured: Vec<f64> = Vec::new();
        for _ in 0..MEASUREMENTS {
            let began = Instant::now();
            for _ in 0..ROUND_TRIPS {
                number += 1;
                words.0.0.store(number, Ordering::Release);
                while words.1.0.load(Ordering::Acquire) != number {
                    std::hint::spin_loop();
                }
            }
            measured.push(began.elapsed().as_nanos() as f64 / ROUND_TRIPS as f64);
        }
        measured.sort_by(f64::total_cmp);
        measured[MEASUREMENTS / 2]
    });
    let failed = |_| String::from("the ping-pong between two cores panicked");
    answering.join().map_err(failed)?;
    asking.join().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(processors: &[usize]) -> Machine {
        Machine {
            model: String::from("Example 9000"),
            processors: processors.to_vec(),
            round_trip_ns: Some(99.6),
        }
    }

    #[test]
    fn threads_are_pinned_where_each_finds_a_processor() {
        let two = machine(&[0, 4]);
        let placement = two.place(1, 1);
        assert_eq!(placement.worker(0), Some(0));
        assert_eq!(placement.publisher(0), Some(4));
        assert_eq!(placement.publisher(1), None);
        assert_eq!(two.place(1, 4), Placement::FREE);
        let placement = machine(&[0, 4, 8]).place(2, 1);
        assert_eq!(placement.worker(1), Some(4));
        assert_eq!(placement.publisher(0), Some(8));
    }

    #[test]
    fn the_machine_says_what_it_is() {
        let text = machine(&[0]).to_string();
        assert!(
            text.starts_with("machine: Example 9000, 1 processor, "),
            "{text}"
        );
        assert!(text.ends_with("100 ns for a ping and a pong"), "{text}");
    }

    #[test]
    fn the_model_and_the_siblings_are_read() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(model_in(cpuinfo).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(model_in("processor : 0"), None);
        assert_eq!(first_in("0,32\n"), Some(0));
        assert_eq!(first_in("4-5"), Some(4));
        assert_eq!(first_in(""), None);
    }
}
