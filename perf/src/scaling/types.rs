//! Event types by the hundred, so that tables and predictors meet what a large application has.
//!
//! Types are made by numbers. Each has its own code from `publish` to the handler's call, which is what
//! many types cost, and what makes ten thousand of them so slow to compile that they are a feature.

use crate::load::{Order, Run};
use ringbolt::__private::TypeCell;
use ringbolt::{Context, Error, Event, EventSystem, Key, Publisher};
use std::sync::Arc;

/// Types in a row of [`TYPES`].
const ROW: usize = 100;
#[cfg(not(feature = "many-types"))]
const ROWS: usize = 1;
#[cfg(feature = "many-types")]
const ROWS: usize = 100;

/// Types there are.
pub(crate) const COUNT: usize = ROWS * ROW;

/// An order of a type of its own.
#[derive(Debug)]
struct Typed<const A: usize, const B: usize>(Order);

/// What `#[derive(Event)]` keeps beside each type; it has no generic types.
static CELLS: [[TypeCell; ROW]; ROWS] = [const { [const { TypeCell::new() }; ROW] }; ROWS];

impl<const A: usize, const B: usize> Event for Typed<A, B> {
    const NAME: &'static str = "order.typed";

    #[inline(always)]
    fn key(&self) -> Key<'_> {
        Key::U64(self.0.account())
    }

    #[inline(always)]
    fn type_cell() -> Option<&'static TypeCell> {
        Some(&CELLS[A][B])
    }
}

/// What can be done with a type that is chosen while running.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) publish: fn(&mut Publisher, Order) -> bool,
    pub(crate) subscribe: fn(&EventSystem, &Arc<Run>) -> Result<(), Error>,
}

const fn entry<const A: usize, const B: usize>() -> Entry {
    Entry {
        publish: |publisher, order| publisher.publish(Typed::<A, B>(order)).is_ok(),
        subscribe: |system, run| {
            let run = Arc::clone(run);
            system
                .subscribe(move |event: &Typed<A, B>, _: &mut Context<'_>| run.handle(0, &event.0))
                .map(drop)
        },
    }
}

/// Calls a macro for ten digits, and gathers what comes of it.
macro_rules! digits {
    ($each:ident, $($given:tt)*) => {
        [
            $each!(0, $($given)*), $each!(1, $($given)*), $each!(2, $($given)*),
            $each!(3, $($given)*), $each!(4, $($given)*), $each!(5, $($given)*),
            $each!(6, $($given)*), $each!(7, $($given)*), $each!(8, $($given)*),
            $each!(9, $($given)*),
        ]
    };
}

macro_rules! type_of_row {
    ($unit:tt, $row:ident, $tens:tt) => {
        entry::<$row, { 10 * $tens + $unit }>()
    };
}

macro_rules! ten_of_row {
    ($tens:tt, $row:ident) => {
        digits!(type_of_row, $row, $tens)
    };
}

type Row = [[Entry; 10]; 10];

const fn row<const A: usize>() -> Row {
    digits!(ten_of_row, A)
}

#[cfg(not(feature = "many-types"))]
static TYPES: [[Row; 1]; 1] = [[row::<0>()]];

#[cfg(feature = "many-types")]
static TYPES: [[Row; 10]; 10] = {
    macro_rules! one {
        ($unit:tt, $tens:tt) => {
            row::<{ 10 * $tens + $unit }>()
        };
    }
    macro_rules! ten {
        ($tens:tt, ) => {
            digits!(one, $tens)
        };
    }
    digits!(ten,)
};

/// The first so many types.
pub(crate) fn first(count: usize) -> Vec<Entry> {
    let all = TYPES.as_flattened().as_flattened().as_flattened();
    all[..count].to_vec()
}

/// So many numbers below `count`, each about as often, in no order that a predictor could learn; every one of
/// them comes within the first `count`.
pub(crate) fn random_order(count: usize, length: usize) -> Vec<u16> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = move |bound: usize| {
        // xorshift* (George Marsaglia, Sebastiano Vigna); the bias of the remainder does not matter here.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    };
    let mut order: Vec<u16> = Vec::with_capacity(length + count);
    while order.len() < length {
        let begin = order.len();
        order.extend(0..u16::try_from(count).expect("types are counted in 16 bits"));
        for last in (begin + 1..order.len()).rev() {
            order.swap(last, begin + below(last - begin + 1));
        }
    }
    order.truncate(length);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_order_is_a_shuffle_after_another() {
        let order = random_order(100, 1_000);
        assert_eq!(order.len(), 1_000);
        for shuffle in order.chunks(100) {
            assert_eq!(shuffle.iter().collect::<HashSet<_>>().len(), 100);
        }
        assert_ne!(order[..100], order[100..200]);
        assert!(random_order(1, 10).iter().all(|&number| number == 0));
    }

    #[test]
    fn every_type_has_a_cell_of_its_own() {
        assert_eq!(first(COUNT).len(), COUNT);
        let cell = |cell: Option<&'static TypeCell>| cell.map(std::ptr::from_ref);
        assert_ne!(
            cell(Typed::<0, 1>::type_cell()),
            cell(Typed::<0, 2>::type_cell())
        );
    }
}
