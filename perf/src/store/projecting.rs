//! A view of a long log, by a worker of its own.

use super::appending::{Changed, names, stream_of};
use crate::systems::said;
use ringbolt::projection::Projection;
use ringbolt::store::{EventStore, ExpectedVersion};
use std::time::{Duration, Instant};

const EVENTS: u64 = 10_000_000;
const LIMIT: Duration = Duration::from_secs(60);
/// Of which the middle one counts.
const TIMES: usize = 3;

/// Sums up ten million events, from the start of the projection until the last is in its view.
pub(super) fn millions_a_second() -> Result<f64, String> {
    let (store, names) = (EventStore::new(), names());
    for number in 0..EVENTS {
        let name = &names[stream_of(number)];
        store
            .append(name, ExpectedVersion::Any, &Changed::nth(number))
            .map_err(said)?;
    }
    let mut found = [0.0; TIMES];
    for millions in &mut found {
        let began = Instant::now();
        let view = Projection::new("sum", 0_u64)
            .on::<Changed>(|sum, event, _| *sum = sum.wrapping_add(event.number));
        let view = store.project(view).map_err(said)?;
        if !view.wait_for(EVENTS - 1, LIMIT) {
            return Err(String::from("the last event is not in the view"));
        }
        *millions = EVENTS as f64 / began.elapsed().as_secs_f64() / 1e6;
        let sum = view.read(|sum, _| *sum);
        if sum != EVENTS * (EVENTS - 1) / 2 {
            return Err(format!("the view is wrong: {sum}"));
        }
    }
    found.sort_by(f64::total_cmp);
    Ok(found[TIMES / 2])
}
