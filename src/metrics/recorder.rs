//! A worker's histograms, in the form in which it fills them.

use crate::event::Class;
use hdrhistogram::Histogram;

/// The longest time that is told apart, in nanoseconds: an hour. Longer ones count as this long.
const TIME_NS_MAX: u64 = 3_600_000_000_000;

/// Makes a histogram of times.
fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_NS_MAX, digits).expect("the bounds are constant and valid")
}

/// Queue wait and end-to-end time of one class.
#[derive(Debug)]
pub(crate) struct ClassTimes {
    pub(crate) queue_wait: Histogram<u64>,
    pub(crate) end_to_end: Histogram<u64>,
}

impl ClassTimes {
    #[inline(always)]
    pub(crate) fn record(&mut self, queue_wait_ns: u64, end_to_end_ns: u64) {
        self.queue_wait.saturating_record(queue_wait_ns);
        self.end_to_end.saturating_record(end_to_end_ns);
    }
}

/// One copy of a worker's histograms; there are two, see [`Handover`](crate::sync::Handover).
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    classes: [Option<Box<ClassTimes>>; 4],
    handlers: Vec<Option<Box<Histogram<u64>>>>,
}

/// Everything that was recorded, by whoever reads it: 3 digits for classes, 2 for handlers.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) classes: [Option<Box<ClassTimes>>; 4],
    /// By place in the worker's table; see the subscription's worker for whose it is.
    pub(crate) handlers: Vec<Option<Box<Histogram<u64>>>>,
}

impl Recorder {
    #[inline(always)]
    pub(crate) fn class(&mut self, class: Class) -> &mut ClassTimes {
        self.classes[class.index()].get_or_insert_with(new_class)
    }

    #[inline(always)]
    pub(crate) fn handler(&mut self, place: usize, time_ns: u64, count: u64) {
        if place >= self.handlers.len() {
            self.handlers.resize_with(place + 1, || None);
        }
        self.handlers[place]
            .get_or_insert_with(|| Box::new(histogram(2)))
            .saturating_record_n(time_ns, count);
    }

    /// Adds everything to `total` and starts again from nothing.
    pub(crate) fn move_to(&mut self, total: &mut Recording) {
        for (from, to) in self.classes.iter_mut().zip(&mut total.classes) {
            if let Some(from) = from
                && !from.queue_wait.is_empty()
            {
                let to = to.get_or_insert_with(new_class);
                add(&mut to.queue_wait, &mut from.queue_wait);
                add(&mut to.end_to_end, &mut from.end_to_end);
            }
        }
        if total.handlers.len() < self.handlers.len() {
            total.handlers.resize_with(self.handlers.len(), || None);
        }
        for (from, to) in self.handlers.iter_mut().zip(&mut total.handlers) {
            if let Some(from) = from
                && !from.is_empty()
            {
                add(to.get_or_insert_with(|| Box::new(histogram(2))), from);
            }
        }
    }
}

#[cold]
fn new_class() -> Box<ClassTimes> {
    Box::new(ClassTimes {
        queue_wait: histogram(3),
        end_to_end: histogram(3),
    })
}

fn add(to: &mut Histogram<u64>, from: &mut Histogram<u64>) {
    to.add(&*from)
        .expect("both have the same bounds, so nothing is out of range");
    from.reset();
}
