//! Every way an event can be held, and that it is dropped once whatever happens.

use super::*;
use crate::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
struct Counted<const N: usize>(Arc<AtomicUsize>, [u8; N]);

impl<const N: usize> Event for Counted<N> {
    const NAME: &'static str = "test.counted";
}

impl<const N: usize> Drop for Counted<N> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[repr(align(64))]
struct Wide;

impl Event for Wide {
    const NAME: &'static str = "test.wide";
}

fn slot<E: Event>(event: E) -> Slot {
    Slot::by_value(|place| {
        Slot::write(
            place,
            EventType::of(),
            Class::Normal,
            false,
            Head::default(),
            event,
        )
    })
}

fn check<const N: usize>(held: Held) {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::Relaxed);
    let make = || slot(Counted(Arc::clone(&drops), [7; N]));

    let mut handled = make();
    assert_eq!(handled.tag.held, held);
    assert_eq!(
        handled
            .split()
            .1
            .get(EventType::<Counted<N>>::of())
            .unwrap()
            .1,
        [7; N]
    );
    handled.split().1.discard();
    assert_eq!(count(), 1);
    drop(handled);
    assert_eq!(count(), 1, "an emptied slot drops nothing");

    drop(make());
    assert_eq!(count(), 2, "a slot that nobody handled drops its payload");

    let mut place = MaybeUninit::uninit();
    let moved: *mut Slot = make().move_to(&mut place);
    assert_eq!(count(), 2, "moving drops nothing");
    // SAFETY: `move_to` returned a reference to a slot that lies in `place`, and nobody else drops it.
    unsafe { moved.drop_in_place() };
    assert_eq!(count(), 3);
}

#[test]
fn small_events_lie_in_the_slot() {
    check::<48>(Held::InPlace);
}

#[test]
fn large_events_are_boxed() {
    check::<49>(Held::Boxed);
    check::<1000>(Held::Boxed);
}

#[test]
fn over_aligned_events_are_boxed_also_without_size() {
    let mut wide = slot(Wide);
    assert_eq!(size_of::<Wide>(), 0);
    assert_eq!(wide.tag.held, Held::Boxed);
    let (_, payload) = wide.split();
    let address: *const Wide = payload.get(EventType::<Wide>::of()).unwrap();
    assert!(address.is_aligned());
}

#[test]
fn another_type_is_not_given_out() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut one = slot(Counted(drops, [0; 8]));
    assert!(one.split().1.get(EventType::<Counted<9>>::of()).is_none());
    assert!(one.split().1.take(EventType::<Counted<9>>::of()).is_none());
}

#[test]
fn a_shared_event_is_taken_by_the_last_holder_only() {
    let drops = Arc::new(AtomicUsize::new(0));
    let event = Arc::new(Counted(Arc::clone(&drops), [1; 4]));
    let share = |event| {
        Slot::by_value(|place| {
            Slot::write_shared(
                place,
                EventType::of(),
                Class::Low,
                true,
                Head::default(),
                event,
            )
        })
    };
    let mut first = share(Arc::clone(&event));
    let mut second = share(event);
    let kind = EventType::<Counted<4>>::of();
    assert!(first.split().1.take(kind).is_none());
    assert!(first.split().1.get(kind).is_some());
    drop(first);
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    assert!(second.split().1.take(kind).is_some());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn pd6_a_panic_in_a_payloads_drop_is_contained_and_happens_once() {
    struct Bomb(Arc<AtomicUsize>);
    impl Event for Bomb {
        const NAME: &'static str = "test.bomb";
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("the bomb went off");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    drop(slot(Bomb(Arc::clone(&drops))));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let mut handled = slot(Bomb(Arc::clone(&drops)));
    assert!(contain(|| handled.split().1.discard()).is_err());
    assert!(handled.is_empty());
    drop(handled);
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

#[test]
fn a_panic_value_that_panics_when_dropped_is_contained() {
    struct Nasty;
    impl Drop for Nasty {
        fn drop(&mut self) {
            panic!("from the panic value");
        }
    }
    let message = contain(|| std::panic::panic_any(Nasty)).unwrap_err();
    assert_eq!(message, "panicked with a value that is no text");
}
