//! A worker's histograms, in the form in which it fills them.
//!
//! publish → route → lane → worker → handler → **outcome**

use super::buckets::{CoarseBuckets, FineBuckets};
use crate::event::Class;
use crate::sync::realtime;

/// Times of classes up to this, 1 ms, need no larger table than the first: there are few of them.
const CLASS_NS_FIRST: u64 = (1 << 20) - 1;

/// Queue wait and end-to-end time of one class.
#[derive(Debug)]
pub(crate) struct ClassTimes {
    pub(crate) queue_wait: FineBuckets,
    pub(crate) end_to_end: FineBuckets,
}

impl ClassTimes {
    #[inline(always)]
    pub(crate) fn record(&mut self, queue_wait_ns: u64, end_to_end_ns: u64, count: u64) {
        self.queue_wait.record_n(queue_wait_ns, count);
        self.end_to_end.record_n(end_to_end_ns, count);
    }
}

/// One copy of a worker's histograms; there are two, see [`Handover`](crate::sync::Handover).
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    classes: [Option<Box<ClassTimes>>; 4],
    /// Without a table where a handler has not been timed.
    handlers: Vec<CoarseBuckets>,
}

/// Everything that was recorded, by whoever reads it: 3 digits for classes, 2 for handlers.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) classes: [Option<Box<ClassTimes>>; 4],
    /// By place in the worker's table; see the subscription's worker for whose it is.
    pub(crate) handlers: Vec<CoarseBuckets>,
}

impl Recorder {
    #[inline(always)]
    pub(crate) fn class(&mut self, class: Class) -> &mut ClassTimes {
        self.classes[class.index()].get_or_insert_with(new_class)
    }

    #[inline(always)]
    pub(crate) fn handler(&mut self, place: usize, time_ns: u64, count: u64) {
        match self.handlers.get_mut(place) {
            Some(buckets) => buckets.record_n(time_ns, count),
            None => self.first_of_handler(place, time_ns, count),
        }
    }

    #[cold]
    #[inline(never)]
    fn first_of_handler(&mut self, place: usize, time_ns: u64, count: u64) {
        // Made once, at a subscription's first event here.
        let _allowed = realtime::allow();
        self.handlers.resize_with(place + 1, CoarseBuckets::default);
        self.handlers[place].record_n(time_ns, count);
    }

    /// Adds everything to `total` and starts again from nothing.
    pub(crate) fn move_to(&mut self, total: &mut Recording) {
        for (from, to) in self.classes.iter_mut().zip(&mut total.classes) {
            if let Some(from) = from {
                let to = to.get_or_insert_with(new_class);
                from.queue_wait.move_to(&mut to.queue_wait);
                from.end_to_end.move_to(&mut to.end_to_end);
            }
        }
        if total.handlers.len() < self.handlers.len() {
            total
                .handlers
                .resize_with(self.handlers.len(), CoarseBuckets::default);
        }
        for (from, to) in self.handlers.iter_mut().zip(&mut total.handlers) {
            from.move_to(to);
        }
    }
}

#[cold]
fn new_class() -> Box<ClassTimes> {
    // Made once, at a class's first event here.
    let _allowed = realtime::allow();
    Box::new(ClassTimes {
        queue_wait: FineBuckets::up_to(CLASS_NS_FIRST),
        end_to_end: FineBuckets::up_to(CLASS_NS_FIRST),
    })
}
