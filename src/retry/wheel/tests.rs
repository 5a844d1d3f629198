//! The wheel against a list that is searched, by generated operations, and with a million timers.

use super::*;
use proptest::prelude::*;
use std::rc::Rc;

/// What the wheel promises, done slowly.
#[derive(Default)]
struct Model {
    now_ns: u64,
    /// In the order of insertion.
    waiting: Vec<(u64, u32)>,
}

impl Model {
    fn insert(&mut self, due_ns: u64, value: u32) {
        self.waiting.push((due_ns.max(self.now_ns), value));
    }

    fn cancel(&mut self, value: u32) -> Option<u32> {
        let index = self.waiting.iter().position(|timer| timer.1 == value)?;
        Some(self.waiting.remove(index).1)
    }

    /// The earliest, and of equal ones the first that was inserted.
    fn next_due(&self) -> Option<u64> {
        self.waiting.iter().map(|timer| timer.0).min()
    }

    fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let now_ns = now_ns.max(self.now_ns);
        let due_ns = self.next_due().filter(|due_ns| *due_ns <= now_ns);
        self.now_ns = due_ns.unwrap_or(now_ns);
        let index = self.waiting.iter().position(|t| Some(t.0) == due_ns)?;
        Some(self.waiting.remove(index).1)
    }
}

/// Every timer hangs where it should, every list reads the same both ways, every bit is right, every place is used.
fn assert_sound<T>(wheel: &Wheel<T>) {
    let (mut hung, mut free) = (0, 0);
    for level in 0..LEVELS {
        for slot in 0..SLOTS {
            let is_in_use = wheel.slots[level] & 1 << slot != 0;
            if !is_in_use {
                continue;
            }
            let list = wheel.lists[level][slot];
            let (mut index, mut previous) = (list.head, NIL);
            while index != NIL {
                let timer = &wheel.timers[index as usize];
                assert!(timer.value.is_some() && timer.previous == previous);
                assert!(timer.due_ns >= wheel.now_ns, "a timer lies in the past");
                let place = wheel.place_of(timer.due_ns);
                assert_eq!((place.level, place.slot), (level, slot));
                let start_ns = wheel.start_of(place);
                let width = 1_u64.checked_shl(level as u32 * BITS);
                assert!(timer.due_ns - start_ns < width.unwrap_or(u64::MAX));
                (previous, index) = (index, timer.next);
                hung += 1;
            }
            assert!(list.tail == previous && previous != NIL);
        }
        let has_bit = wheel.levels & 1 << level != 0;
        assert_eq!(has_bit, wheel.slots[level] != 0);
    }
    let mut index = wheel.free;
    while index != NIL {
        assert!(wheel.timers[index as usize].value.is_none());
        index = wheel.timers[index as usize].next;
        free += 1;
    }
    assert_eq!((hung, hung + free), (wheel.len(), wheel.timers.len()));
}

#[derive(Debug, Clone)]
enum Step {
    /// Due so far from the wheel's time.
    Insert(u64),
    /// Due at the same time as the one inserted so many before.
    Again(usize),
    /// Due so long before the wheel's time.
    InsertLate(u64),
    /// The one inserted so many before, whatever has become of it.
    Cancel(usize),
    /// The next that is due so much later.
    Pop(u64),
    /// All that is due so much later.
    PopAll(u64),
    /// As after a clock was set back.
    PopEarlier(u64),
    /// What a thread does that sleeps until the next is due.
    Sleep,
    Drain,
}

/// Times of all scales there are.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..20_u32, any::<u64>()).prop_map(|(bits, any)| any >> (63 - bits)),
        4 => (0..64_u32, any::<u64>()).prop_map(|(bits, any)| any >> (63 - bits)),
        1 => (0..64_u32).prop_map(|bits| 1 << bits),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => span().prop_map(Step::Insert),
        4 => (0..8_usize).prop_map(Step::Again),
        2 => span().prop_map(Step::InsertLate),
        6 => (0..40_usize).prop_map(Step::Cancel),
        6 => span().prop_map(Step::Pop),
        2 => span().prop_map(Step::PopAll),
        1 => span().prop_map(Step::PopEarlier),
        3 => Just(Step::Sleep),
        1 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 0..200)
}

fn start() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        any::<u64>(),
        Just(u64::MAX - 1_000),
        Just(u64::MAX)
    ]
}

proptest! {
    #[test]
    fn the_wheel_does_what_its_oracle_does(start_ns in start(), steps in steps()) {
        let mut wheel = Wheel::new(start_ns);
        let mut model = Model { now_ns: start_ns, ..Model::default() };
        let mut inserted: Vec<(TimerId, u64)> = Vec::new();
        for step in steps {
            let now_ns = model.now_ns;
            let due_ns = match step {
                Step::Insert(span) => Some(now_ns.saturating_add(span)),
                Step::InsertLate(span) => Some(now_ns.saturating_sub(span)),
                Step::Again(before) => inserted.iter().rev().nth(before).map(|timer| timer.1),
                _ => None,
            };
            if let Some(due_ns) = due_ns {
                let value = inserted.len() as u32;
                inserted.push((wheel.insert(due_ns, value), due_ns));
                model.insert(due_ns, value);
            }
            match step {
                Step::Insert(_) | Step::InsertLate(_) | Step::Again(_) => {}
                Step::Cancel(before) => {
                    if let Some(value) = inserted.len().checked_sub(before + 1) {
                        let id = inserted[value].0;
                        prop_assert_eq!(wheel.cancel(id), model.cancel(value as u32));
                        prop_assert_eq!(wheel.cancel(id), None);
                    }
                }
                Step::Pop(span) => {
                    let now_ns = now_ns.saturating_add(span);
                    prop_assert_eq!(wheel.pop_due(now_ns), model.pop_due(now_ns));
                }
                Step::PopAll(span) => {
                    let now_ns = now_ns.saturating_add(span);
                    loop {
                        let value = wheel.pop_due(now_ns);
                        prop_assert_eq!(value, model.pop_due(now_ns));
                        if value.is_none() {
                            break;
                        }
                    }
                }
                Step::PopEarlier(span) => {
                    let now_ns = now_ns.saturating_sub(span);
                    prop_assert_eq!(wheel.pop_due(now_ns), model.pop_due(now_ns));
                }
                Step::Sleep => {
                    let mut turns = 0;
                    while let Some(wake_ns) = wheel.next_due() {
                        let value = wheel.pop_due(wake_ns);
                        prop_assert_eq!(value, model.pop_due(wake_ns));
                        if value.is_some() {
                            break;
                        }
                        turns += 1;
                        prop_assert!(turns < LEVELS, "woken {turns} times for nothing");
                    }
                }
                Step::Drain => {
                    let mut drained: Vec<u32> = wheel.drain().collect();
                    drained.sort_unstable();
                    let waiting = model.waiting.drain(..).map(|timer| timer.1);
                    prop_assert_eq!(drained, waiting.collect::<Vec<_>>());
                }
            }
            assert_sound(&wheel);
            prop_assert_eq!(wheel.now_ns, model.now_ns);
            prop_assert_eq!(wheel.len(), model.waiting.len());
            prop_assert_eq!(wheel.is_empty(), model.waiting.is_empty());
            let (next, exact) = (wheel.next_due(), model.next_due());
            prop_assert!(next == exact || wheel.len() > LOOKED_AT && next < exact);
            if let Some(exact) = exact {
                prop_assert!(wheel.due_before(exact));
                prop_assert_eq!(
                    wheel.due_before(exact.saturating_sub(1)),
                    exact <= model.now_ns || exact == 0
                );
            } else {
                prop_assert!(!wheel.due_before(u64::MAX));
            }
        }
    }

    /// So many in one slot that its earliest is not looked for.
    #[test]
    fn a_sleeper_is_woken_for_nothing_ten_times_at_most(
        start_ns in any::<u32>(),
        dues in prop::collection::vec(span(), 1..400),
        spread in 0..40_u32,
    ) {
        let mut wheel = Wheel::new(u64::from(start_ns));
        for &due in &dues {
            wheel.insert(u64::from(start_ns) + (1 << 45) + (due >> 20 >> spread), ());
        }
        for _ in &dues {
            let mut turns = 0;
            loop {
                let wake_ns = wheel.next_due().expect("some are waiting");
                if wheel.pop_due(wake_ns).is_some() {
                    break;
                }
                turns += 1;
                prop_assert!(turns < LEVELS);
            }
        }
        prop_assert!(wheel.is_empty());
    }
}

#[test]
fn equal_due_times_come_out_as_they_went_in() {
    let mut wheel = Wheel::new(0);
    // Hung to a high level, to a lower one when time has moved on, and to the lowest when it is late.
    let due_ns = 10_000_000;
    for value in 0..3 {
        wheel.insert(due_ns, value);
    }
    wheel.insert(9_999_990, 100);
    assert_eq!(wheel.pop_due(9_999_990), Some(100));
    wheel.insert(due_ns, 3);
    assert_eq!(wheel.pop_due(due_ns), Some(0));
    wheel.insert(due_ns, 4);
    wheel.insert(5, 5);
    let rest: Vec<i32> = std::iter::from_fn(|| wheel.pop_due(due_ns)).collect();
    assert_eq!(rest, [1, 2, 3, 4, 5]);
}

#[test]
fn nothing_comes_before_it_is_due_and_all_comes_then() {
    for due_ns in [1, 63, 64, 65, 4_095, 4_096, 1 << 40, u64::MAX] {
        for count in [1, 2, 100] {
            let mut wheel = Wheel::new(0);
            for _ in 0..count {
                wheel.insert(due_ns, ());
            }
            assert!(!wheel.due_before(due_ns - 1));
            assert_eq!(wheel.pop_due(due_ns - 1), None);
            assert_eq!(wheel.next_due(), Some(due_ns));
            assert!(wheel.due_before(due_ns));
            let popped = std::iter::from_fn(|| wheel.pop_due(due_ns)).count();
            assert_eq!((popped, wheel.next_due()), (count, None));
        }
    }
}

#[test]
fn an_old_id_cancels_nothing() {
    let mut wheel = Wheel::new(0);
    let popped = wheel.insert(1, "popped");
    assert_eq!(wheel.pop_due(1), Some("popped"));
    let cancelled = wheel.insert(2, "cancelled");
    assert_eq!(wheel.cancel(cancelled), Some("cancelled"));
    let drained = wheel.insert(3, "drained");
    assert_eq!(wheel.drain().collect::<Vec<_>>(), ["drained"]);
    // All of them had the place that this one has now.
    let waiting = wheel.insert(4, "waiting");
    for old in [popped, cancelled, drained] {
        assert_eq!((old.index, wheel.cancel(old)), (waiting.index, None));
    }
    assert_eq!(wheel.cancel(waiting), Some("waiting"));
    assert_eq!(wheel.cancel(waiting), None);
}

#[test]
fn values_are_dropped_once() {
    let alive = Rc::new(());
    let mut wheel = Wheel::new(0);
    let ids: Vec<TimerId> = (0..10)
        .map(|due_ns| wheel.insert(due_ns, Rc::clone(&alive)))
        .collect();
    drop(wheel.pop_due(0));
    drop(wheel.cancel(ids[5]));
    assert_eq!((wheel.len(), Rc::strong_count(&alive)), (8, 9));
    // What is not taken of a drain is dropped too.
    drop(wheel.drain().next());
    assert_eq!((wheel.len(), Rc::strong_count(&alive)), (0, 1));
    wheel.insert(20, Rc::clone(&alive));
    drop(wheel);
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_million_timers_wait_and_come_in_order() {
    const COUNT: u64 = 1_000_000;
    let mut wheel = Wheel::new(0);
    // All over the next second, in no order: an odd factor goes through all of 2^30.
    let due = |number: u64| number.wrapping_mul(0x9E37_79B1) % (1 << 30);
    let ids: Vec<TimerId> = (0..COUNT)
        .map(|number| wheel.insert(due(number), number))
        .collect();
    for number in (0..COUNT).step_by(4) {
        assert_eq!(wheel.cancel(ids[number as usize]), Some(number));
    }
    let (mut now_ns, mut last_ns, mut popped) = (0, 0, 0);
    while let Some(next_ns) = wheel.next_due() {
        now_ns = next_ns.max(now_ns + 50_000);
        while let Some(number) = wheel.pop_due(now_ns) {
            assert!(last_ns <= due(number) && due(number) <= now_ns);
            assert!(!number.is_multiple_of(4));
            last_ns = due(number);
            popped += 1;
        }
    }
    assert_eq!(popped, COUNT / 4 * 3);
}

#[test]
fn a_rush_leaves_little_memory_behind() {
    let mut wheel = Wheel::new(0);
    for due_ns in 0..100_000 {
        wheel.insert(due_ns, due_ns);
    }
    while wheel.pop_due(u64::MAX).is_some() {}
    assert!(wheel.timers.capacity() <= KEPT);
}

#[test]
fn a_timer_takes_24_bytes_beside_its_value() {
    assert_eq!(size_of::<Timer<u32>>(), 24 + size_of::<Option<u32>>());
    assert_eq!(size_of::<Timer<u64>>(), 24 + size_of::<Option<u64>>());
    assert_eq!(size_of::<Timer<Box<u64>>>(), 32);
    assert_eq!(size_of::<Option<TimerId>>(), 16);
    let wheel = Wheel::<u64>::new(0);
    assert!(size_of_val(&wheel) + size_of_val(&*wheel.lists) < 6_144);
}
